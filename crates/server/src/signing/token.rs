//! A signer that is a key in a token, behind PKCS #11 (OASIS PKCS #11 2.40): an HSM, a smart card, SoftHSM.
//!
//! The module is a shared library that the operator names. It runs in this process and may hang, which is why all
//! of this runs on a thread of its own; it may also do anything else, so it must be one that the operator trusts.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use portcullis_ledger::SignError;
use portcullis_sdk::BootInstant;
use portcullis_verify::VerifierKey;
use zeroize::Zeroizing;

use crate::config::TokenConfig;
use crate::signing::attended::Device;

/// A module is initialized and finalized for the whole process, and must not be finalized under a call.
static MODULES: Mutex<()> = Mutex::new(());
/// Longest PIN file that is read, in bytes.
const LONGEST_PIN: u64 = 256;

/// What tells whether a PIN file was changed.
type Stamp = [i64; 5];

/// A key in a token.
pub(super) struct Token {
    config: TokenConfig,
    key: VerifierKey,
    module: Option<Pkcs11>,
    open: Option<(Session, ObjectHandle)>,
    /// The PIN file whose PIN the token refused.
    refused: Option<Stamp>,
}

impl Token {
    pub(super) const fn new(config: TokenConfig, key: VerifierKey) -> Self {
        Self { config, key, module: None, open: None, refused: None }
    }

    /// The open session, or a new one.
    fn opened(&mut self) -> Result<&(Session, ObjectHandle), SignError> {
        if self.open.is_none() {
            self.open = Some(self.reopen()?);
        }
        self.open.as_ref().ok_or_else(|| unavailable("the token is not open"))
    }

    /// A token that was taken out and put back is seen again by some modules only when they begin anew. That also
    /// ends the sessions of a second signer with this module, so it comes last; that one then opens its own again.
    fn reopen(&mut self) -> Result<(Session, ObjectHandle), SignError> {
        if let Some(module) = self.module.clone()
            && let Ok(open) = self.login(&module)
        {
            return Ok(open);
        }
        if let Some(module) = self.module.take() {
            // One that is finalized already is as it should be.
            module.finalize().unwrap_or(());
        }
        let module = Pkcs11::new(&self.config.module).map_err(unavailable)?;
        match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(unavailable(error)),
        }
        self.module = Some(module.clone());
        self.login(&module)
    }

    fn login(&mut self, module: &Pkcs11) -> Result<(Session, ObjectHandle), SignError> {
        let session = module.open_ro_session(self.slot(module)?).map_err(unavailable)?;
        let (pin, stamp) = self.pin()?;
        if self.refused == Some(stamp) {
            return Err(unavailable("the token refused this PIN before; it is not tried again"));
        }
        match session.login(UserType::User, Some(&AuthPin::new(pin.as_str().into()))) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => self.refused = None,
            Err(error) => {
                if is_about_the_pin(&error) {
                    self.refused = Some(stamp);
                }
                return Err(unavailable(error));
            }
        }
        let key = self.private_key(&session)?;
        self.is_the_logs(&session)?;
        Ok((session, key))
    }

    fn slot(&self, module: &Pkcs11) -> Result<Slot, SignError> {
        let labelled = |slot: &Slot| {
            module.get_token_info(*slot).is_ok_and(|token| token.label().trim_end() == self.config.token)
        };
        let slots = module.get_slots_with_token().map_err(unavailable)?;
        only("token with this label", slots.into_iter().filter(labelled))
    }

    fn private_key(&self, session: &Session) -> Result<ObjectHandle, SignError> {
        let wanted = [
            Attribute::Class(ObjectClass::PRIVATE_KEY),
            Attribute::Label(self.config.key.clone().into_bytes()),
        ];
        only("private key with this label", session.find_objects(&wanted).map_err(unavailable)?.into_iter())
    }

    /// Refuses a key that the token itself says is another one. Where it does not hold the public key, the
    /// signature tells.
    fn is_the_logs(&self, session: &Session) -> Result<(), SignError> {
        let wanted = [
            Attribute::Class(ObjectClass::PUBLIC_KEY),
            Attribute::Label(self.config.key.clone().into_bytes()),
        ];
        for object in session.find_objects(&wanted).map_err(unavailable)? {
            let found = session.get_attributes(object, &[AttributeType::EcPoint]).map_err(unavailable)?;
            let other = found
                .iter()
                .any(|attribute| matches!(attribute, Attribute::EcPoint(point) if !self.is_point(point)));
            if other {
                return Err(SignError::WrongKey { expected: self.key.to_string() });
            }
        }
        Ok(())
    }

    /// Whether CKA_EC_POINT is the log's public key: a DER octet string of it, or, in newer modules, the key itself.
    fn is_point(&self, point: &[u8]) -> bool {
        let own = self.key.public_key();
        point == own || point.strip_prefix(&[0x04, 0x20]) == Some(&own)
    }

    fn pin(&self) -> Result<(Zeroizing<String>, Stamp), SignError> {
        let mut file = File::open(&self.config.pin_file).map_err(unavailable)?;
        let metadata = file.metadata().map_err(unavailable)?;
        if metadata.mode() & 0o077 != 0 {
            return Err(unavailable("the PIN file is open to others; run `chmod 600` on it"));
        }
        let mut text = Zeroizing::new(String::new());
        file.by_ref().take(LONGEST_PIN).read_to_string(&mut text).map_err(unavailable)?;
        let stamp = [
            metadata.mtime(),
            metadata.mtime_nsec(),
            metadata.ctime(),
            metadata.ctime_nsec(),
            i64::try_from(metadata.ino()).unwrap_or(i64::MAX),
        ];
        Ok((Zeroizing::new(text.trim_end().to_owned()), stamp))
    }

    /// Whatever fails ends the session: the next look at the token opens another.
    fn close<T>(&mut self, result: Result<T, SignError>) -> Result<T, SignError> {
        if result.is_err() {
            self.open = None;
        }
        result
    }
}

impl Device for Token {
    fn watch(&mut self) -> Result<(), SignError> {
        let _alone = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
        let result = match self.opened() {
            Ok(_) => match &self.open {
                Some((session, _)) => self.private_key(session).map(drop),
                None => Err(unavailable("the token is not open")),
            },
            Err(error) => Err(error),
        };
        self.close(result)
    }

    fn sign(&mut self, text: &[u8], _until: BootInstant) -> Result<[u8; 64], SignError> {
        let _alone = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
        let mechanism = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure));
        let signed = self
            .opened()
            .and_then(|(session, key)| session.sign(&mechanism, *key, text).map_err(unavailable));
        let signature = self.close(signed)?;
        signature.try_into().map_err(|_| SignError::Failed)
    }
}

/// The only one there is: which of two is meant cannot be told.
fn only<T>(what: &str, mut found: impl Iterator<Item = T>) -> Result<T, SignError> {
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(unavailable(format!("there is no {what}"))),
        (Some(_), Some(_)) => Err(unavailable(format!("there is more than one {what}"))),
    }
}

fn is_about_the_pin(error: &Error) -> bool {
    matches!(
        error,
        Error::Pkcs11(
            RvError::PinIncorrect
                | RvError::PinInvalid
                | RvError::PinLenRange
                | RvError::PinExpired
                | RvError::PinLocked,
            _
        )
    )
}

fn unavailable(error: impl std::fmt::Display) -> SignError {
    SignError::Unavailable(error.to_string())
}
