//! The serializer.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::{self, Write as _};
use std::ops::Range;

use serde::ser::{self, Error as _, Serialize};

use super::NotCanonical;

/// The largest integer that every JSON reader takes as it is written: 2^53 − 1.
const LARGEST: u128 = (1 << 53) - 1;

/// Writes one value at the end of a buffer.
pub(super) struct Writer<'a>(&'a mut Vec<u8>);

impl<'a> Writer<'a> {
    pub(super) const fn new(out: &'a mut Vec<u8>) -> Self {
        Self(out)
    }
}

/// A text between quotes, escaped as it is written.
struct Escaping<'a>(&'a mut Vec<u8>);

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text.as_bytes();
        while let Some(place) = rest.iter().position(|byte| matches!(byte, 0..=0x1f | b'"' | b'\\')) {
            let (plain, special) = rest.split_at(place);
            self.0.extend_from_slice(plain);
            if let Some((byte, after)) = special.split_first() {
                escape(self.0, *byte);
                rest = after;
            }
        }
        self.0.extend_from_slice(rest);
        Ok(())
    }
}

/// RFC 8785 section 3.2.2.2.
fn escape(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        0x08 => b'b',
        0x09 => b't',
        0x0a => b'n',
        0x0c => b'f',
        0x0d => b'r',
        b'"' | b'\\' => byte,
        control => {
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(hex::encode([control]).as_bytes());
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

fn quoted(out: &mut Vec<u8>, text: impl fmt::Display) -> Result<(), NotCanonical> {
    out.push(b'"');
    write!(Escaping(out), "{text}").map_err(NotCanonical::custom)?;
    out.push(b'"');
    Ok(())
}

fn quoted_text(out: &mut Vec<u8>, text: &str) -> Result<(), NotCanonical> {
    out.push(b'"');
    Escaping(out).write_str(text).map_err(NotCanonical::custom)?;
    out.push(b'"');
    Ok(())
}

fn integer(out: &mut Vec<u8>, value: i128) -> Result<(), NotCanonical> {
    if value.unsigned_abs() > LARGEST {
        return Err(NotCanonical::custom("a number beyond 2^53 - 1"));
    }
    write!(Escaping(out), "{value}").map_err(NotCanonical::custom)
}

macro_rules! integers {
    ($($method:ident: $type:ty;)*) => {
        $(fn $method(self, value: $type) -> Result<(), NotCanonical> {
            integer(self.0, value.into())
        })*
    };
}

impl<'a> ser::Serializer for Writer<'a> {
    type Ok = ();
    type Error = NotCanonical;
    type SerializeSeq = Array<'a>;
    type SerializeTuple = Array<'a>;
    type SerializeTupleStruct = Array<'a>;
    type SerializeTupleVariant = Variant<Array<'a>>;
    type SerializeMap = Object<'a>;
    type SerializeStruct = Object<'a>;
    type SerializeStructVariant = Variant<Object<'a>>;

    integers! {
        serialize_i8: i8;
        serialize_i16: i16;
        serialize_i32: i32;
        serialize_i64: i64;
        serialize_u8: u8;
        serialize_u16: u16;
        serialize_u32: u32;
        serialize_u64: u64;
    }

    fn serialize_bool(self, value: bool) -> Result<(), NotCanonical> {
        self.0.extend_from_slice(if value { b"true" } else { b"false" });
        Ok(())
    }

    fn serialize_f32(self, _value: f32) -> Result<(), NotCanonical> {
        Err(NotCanonical::custom("a fraction"))
    }

    fn serialize_f64(self, _value: f64) -> Result<(), NotCanonical> {
        Err(NotCanonical::custom("a fraction"))
    }

    fn serialize_char(self, value: char) -> Result<(), NotCanonical> {
        quoted(self.0, value)
    }

    fn serialize_str(self, value: &str) -> Result<(), NotCanonical> {
        quoted_text(self.0, value)
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<(), NotCanonical> {
        quoted(self.0, value)
    }

    fn serialize_bytes(self, _value: &[u8]) -> Result<(), NotCanonical> {
        Err(NotCanonical::custom("bytes"))
    }

    fn serialize_none(self) -> Result<(), NotCanonical> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), NotCanonical> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), NotCanonical> {
        self.0.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), NotCanonical> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), NotCanonical> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), NotCanonical> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), NotCanonical> {
        let mut object = Object::new(self.0);
        object.entry(Cow::Borrowed(variant), value)?;
        object.finish().map(drop)
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<Array<'a>, NotCanonical> {
        Ok(Array::new(self.0))
    }

    fn serialize_tuple(self, _len: usize) -> Result<Array<'a>, NotCanonical> {
        Ok(Array::new(self.0))
    }

    fn serialize_tuple_struct(self, _name: &'static str, _len: usize) -> Result<Array<'a>, NotCanonical> {
        Ok(Array::new(self.0))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Variant<Array<'a>>, NotCanonical> {
        begin_variant(self.0, variant)?;
        Ok(Variant(Array::new(self.0)))
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Object<'a>, NotCanonical> {
        Ok(Object::new(self.0))
    }

    fn serialize_struct(self, name: &'static str, _len: usize) -> Result<Object<'a>, NotCanonical> {
        // JSON that was not parsed comes disguised as a struct: nobody has looked at what it holds.
        if name.starts_with("$serde_json::") {
            return Err(NotCanonical::custom("unparsed JSON"));
        }
        Ok(Object::new(self.0))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Variant<Object<'a>>, NotCanonical> {
        begin_variant(self.0, variant)?;
        Ok(Variant(Object::new(self.0)))
    }
}

/// An array being written.
pub(super) struct Array<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Array<'a> {
    fn new(out: &'a mut Vec<u8>) -> Self {
        out.push(b'[');
        Self { out, empty: true }
    }

    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotCanonical> {
        if !std::mem::take(&mut self.empty) {
            self.out.push(b',');
        }
        value.serialize(Writer(self.out))
    }

    fn finish(self) -> &'a mut Vec<u8> {
        self.out.push(b']');
        self.out
    }
}

macro_rules! array {
    ($($trait:ident :: $method:ident),*) => {
        $(impl ser::$trait for Array<'_> {
            type Ok = ();
            type Error = NotCanonical;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotCanonical> {
                self.item(value)
            }

            fn end(self) -> Result<(), NotCanonical> {
                self.finish();
                Ok(())
            }
        })*
    };
}

array!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field
);

/// An object being written: its members as they come, each behind where the one before it ended.
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
    begin: usize,
    members: Vec<(Cow<'static, str>, Range<usize>)>,
    key: Option<String>,
}

impl<'a> Object<'a> {
    fn new(out: &'a mut Vec<u8>) -> Self {
        let begin = out.len();
        out.push(b'{');
        Self { out, begin, members: Vec::with_capacity(20), key: None }
    }

    fn entry<T: Serialize + ?Sized>(
        &mut self,
        key: Cow<'static, str>,
        value: &T,
    ) -> Result<(), NotCanonical> {
        if !self.members.is_empty() {
            self.out.push(b',');
        }
        let begin = self.out.len();
        quoted_text(self.out, &key)?;
        self.out.push(b':');
        value.serialize(Writer(self.out))?;
        self.members.push((key, begin..self.out.len()));
        Ok(())
    }

    fn finish(mut self) -> Result<&'a mut Vec<u8>, NotCanonical> {
        if !self.members.is_sorted_by(|(a, _), (b, _)| by_utf16(a, b) == Ordering::Less) {
            self.sort()?;
        }
        self.out.push(b'}');
        Ok(self.out)
    }

    fn sort(&mut self) -> Result<(), NotCanonical> {
        self.members.sort_by(|(a, _), (b, _)| by_utf16(a, b));
        if self.members.windows(2).any(|pair| matches!(pair, [(a, _), (b, _)] if a == b)) {
            return Err(NotCanonical::custom("a key twice"));
        }
        let mut sorted = Vec::with_capacity(self.out.len().saturating_sub(self.begin));
        for (_, member) in &self.members {
            sorted.push(if sorted.is_empty() { b'{' } else { b',' });
            let member = self.out.get(member.clone());
            sorted.extend_from_slice(member.ok_or_else(|| NotCanonical::custom("a member that is gone"))?);
        }
        self.out.truncate(self.begin);
        self.out.append(&mut sorted);
        Ok(())
    }
}

/// RFC 8785 section 3.2.3: names are compared by their UTF-16 code units. That is the order of their bytes, unless
/// one of them goes beyond the characters of one unit.
fn by_utf16(a: &str, b: &str) -> Ordering {
    // Only what begins with 0xf0 or more takes two units.
    let long = |text: &str| text.bytes().any(|byte| byte >= 0xf0);
    match a.cmp(b) {
        Ordering::Equal => Ordering::Equal,
        order if !long(a) && !long(b) => order,
        Ordering::Less | Ordering::Greater => a.encode_utf16().cmp(b.encode_utf16()),
    }
}

impl ser::SerializeStruct for Object<'_> {
    type Ok = ();
    type Error = NotCanonical;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), NotCanonical> {
        self.entry(Cow::Borrowed(key), value)
    }

    fn end(self) -> Result<(), NotCanonical> {
        self.finish().map(drop)
    }
}

impl ser::SerializeMap for Object<'_> {
    type Ok = ();
    type Error = NotCanonical;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), NotCanonical> {
        // A key is whatever is written as a string, read back from what it was written as.
        let mut written = Vec::new();
        key.serialize(Writer(&mut written))?;
        let key =
            serde_json::from_slice(&written).map_err(|_| NotCanonical::custom("a key that is no string"))?;
        self.key = Some(key);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotCanonical> {
        match self.key.take() {
            Some(key) => self.entry(Cow::Owned(key), value),
            None => Err(NotCanonical::custom("a value without its key")),
        }
    }

    fn end(self) -> Result<(), NotCanonical> {
        self.finish().map(drop)
    }
}

/// The content of a variant with fields or several values, in an object whose one key is the variant.
pub(super) struct Variant<T>(T);

fn begin_variant(out: &mut Vec<u8>, variant: &str) -> Result<(), NotCanonical> {
    out.push(b'{');
    quoted_text(out, variant)?;
    out.push(b':');
    Ok(())
}

impl ser::SerializeTupleVariant for Variant<Array<'_>> {
    type Ok = ();
    type Error = NotCanonical;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotCanonical> {
        self.0.item(value)
    }

    fn end(self) -> Result<(), NotCanonical> {
        self.0.finish().push(b'}');
        Ok(())
    }
}

impl ser::SerializeStructVariant for Variant<Object<'_>> {
    type Ok = ();
    type Error = NotCanonical;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), NotCanonical> {
        self.0.entry(Cow::Borrowed(key), value)
    }

    fn end(self) -> Result<(), NotCanonical> {
        self.0.finish()?.push(b'}');
        Ok(())
    }
}
