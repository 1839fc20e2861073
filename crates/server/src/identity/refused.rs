//! Why an access token names nobody, each with a code of its own. They are no reasons of decisions: whoever shows such a
//! token is nobody, and nothing is decided. The code is for those who run the arbiter; the caller is told less.

macro_rules! refusals {
    ($( $(#[doc = $doc:literal])* $variant:ident = $code:literal, $message:literal; )*) => {
        /// Why an access token names nobody.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
        pub enum TokenRefused {
            $( $(#[doc = $doc])* #[error($message)] $variant, )*
        }

        impl TokenRefused {
            /// Every one of them.
            pub const ALL: &[Self] = &[$( Self::$variant, )*];

            /// Its code.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $( Self::$variant => $code, )* }
            }
        }
    };
}

refusals! {
    /// It is longer than any token that is read.
    TooLarge = "token.too_large", "it is longer than is read";
    /// It is no JWS of three parts, or header or claims are not one JSON object that names each key once.
    Malformed = "token.malformed", "it is no signed token with one reading";
    /// Its header says something that changes what a signature means, or where keys would come from.
    Header = "token.header", "its header says more than algorithm, type and key";
    /// Its algorithm is not one of its issuer's.
    Algorithm = "token.algorithm", "its algorithm is not one that its issuer may use";
    /// It is another kind of token: an ID token, a refresh token, or of a type that its issuer is not believed for.
    Type = "token.type", "it is not of a type that is taken as an access token";
    /// Its issuer is not configured.
    Issuer = "token.issuer", "its issuer is not one of the configuration's";
    /// It is for another resource.
    Audience = "token.audience", "it is for another resource";
    /// It has expired.
    Expired = "token.expired", "it has expired";
    /// It is from the future.
    NotYet = "token.not_yet_valid", "it is not valid yet";
    /// It is bound to a key, whose possession a bearer does not prove.
    Bound = "token.bound", "it is bound to a key that its bearer has not shown";
    /// It says that somebody acts for somebody else.
    Delegated = "token.delegated", "it delegates, which is said in the configuration and nowhere else";
    /// No agent of the configuration is whom it names.
    Subject = "token.subject", "it names no agent of the configuration";
    /// Its issuer has no such key.
    UnknownKey = "token.unknown_key", "its issuer has no such key";
    /// The key that it names is not one for its algorithm.
    KeyType = "token.key_type", "the key that it names is not one for its algorithm";
    /// Its signature is not its issuer's.
    Signature = "token.signature", "its signature is not its issuer's";
}

impl TokenRefused {
    /// What the bearer is told. That a token has expired is for its bearer to mend; anything else tells a forger how far he
    /// came.
    #[must_use]
    pub const fn told(self) -> &'static str {
        match self {
            Self::Expired => "the access token has expired",
            Self::TooLarge
            | Self::Malformed
            | Self::Header
            | Self::Algorithm
            | Self::Type
            | Self::Issuer
            | Self::Audience
            | Self::NotYet
            | Self::Bound
            | Self::Delegated
            | Self::Subject
            | Self::UnknownKey
            | Self::KeyType
            | Self::Signature => "the access token is not valid here",
        }
    }
}
