//! JSON Web Key Sets (RFC 7517, 7518 and 8037): public keys, and what they have signed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bowline_api::model::JwtAlgorithm;
use ring::signature::{
    self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use serde::Deserialize;

/// Keys of one set that are kept, at most.
const MOST_KEYS: usize = 64;

/// The keys of a set that can verify a signature. Others are left out: that a set has them too is usual.
#[derive(Debug, Default)]
pub struct Keys(Vec<Key>);

/// One public key.
#[derive(Debug)]
pub struct Key {
    /// Its name in the set.
    id: Option<Box<str>>,
    /// The one algorithm that it is for, where the set says so.
    algorithm: Option<Box<str>>,
    material: Material,
}

#[derive(Debug)]
enum Material {
    /// Modulus and exponent, without leading zeros.
    Rsa(Vec<u8>, Vec<u8>),
    /// An uncompressed point of P-256.
    P256(Vec<u8>),
    /// The same of P-384.
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

#[derive(Deserialize)]
struct SetText {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct KeyText {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Keys {
    /// Reads a set.
    ///
    /// # Errors
    /// It is none, in words.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let set: SetText = serde_json::from_slice(text).map_err(|error| format!("no key set: {error}"))?;
        Ok(Keys(set.keys.into_iter().filter_map(Key::parse).take(MOST_KEYS).collect()))
    }

    /// How many can be used.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none can.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that may have signed a token with this algorithm and key id. Without an id on either side any may have.
    pub fn candidates<'a>(
        &'a self,
        algorithm: JwtAlgorithm,
        id: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Key> {
        self.0.iter().filter(move |key| {
            let named = match (&key.id, id) {
                (Some(own), Some(asked)) => **own == *asked,
                _ => true,
            };
            named && key.fits(algorithm)
        })
    }
}

impl Key {
    fn parse(value: serde_json::Value) -> Option<Self> {
        let text: KeyText = serde_json::from_value(value).ok()?;
        if text.usage.as_deref().is_some_and(|usage| usage != "sig")
            || text.key_ops.as_ref().is_some_and(|ops| ops.iter().all(|op| op != "verify"))
        {
            return None;
        }
        let field = |text: &Option<String>, length: Option<usize>| {
            let bytes = URL_SAFE_NO_PAD.decode(text.as_ref()?.trim_end_matches('=')).ok()?;
            length.is_none_or(|length| bytes.len() == length).then_some(bytes)
        };
        let point = |length| {
            let (x, y) = (field(&text.x, Some(length))?, field(&text.y, Some(length))?);
            Some([&[4], &x[..], &y[..]].concat())
        };
        let number = |text: &Option<String>| {
            let bytes = field(text, None)?;
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            Some(bytes[zeros..].to_vec())
        };
        let material = match (text.kty.as_str(), text.crv.as_deref()) {
            ("RSA", _) => Material::Rsa(number(&text.n)?, number(&text.e)?),
            ("EC", Some("P-256")) => Material::P256(point(32)?),
            ("EC", Some("P-384")) => Material::P384(point(48)?),
            ("OKP", Some("Ed25519")) => Material::Ed25519(field(&text.x, Some(32))?),
            _ => return None,
        };
        let boxed = |text: Option<String>| text.map(String::into_boxed_str);
        Some(Key { id: boxed(text.kid), algorithm: boxed(text.alg), material })
    }

    /// Whether it is a key of this algorithm's kind, and not meant for another.
    fn fits(&self, algorithm: JwtAlgorithm) -> bool {
        use JwtAlgorithm as A;
        let kind = match &self.material {
            Material::Rsa(..) => matches!(algorithm, A::Rs256 | A::Rs384 | A::Rs512 | A::Ps256),
            Material::P256(_) => algorithm == A::Es256,
            Material::P384(_) => algorithm == A::Es384,
            Material::Ed25519(_) => algorithm == A::EdDsa,
        };
        kind && self.algorithm.as_deref().is_none_or(|own| {
            // RFC 9864 has a name of its own for the one curve that is left of EdDSA.
            own == name(algorithm) || (algorithm == A::EdDsa && own == "Ed25519")
        })
    }

    /// Whether it has signed this.
    pub fn has_signed(&self, algorithm: JwtAlgorithm, message: &[u8], signature: &[u8]) -> bool {
        use JwtAlgorithm as A;
        let rsa = |parameters: &'static RsaParameters, n: &[u8], e: &[u8]| {
            RsaPublicKeyComponents { n, e }.verify(parameters, message, signature).is_ok()
        };
        let plain = |algorithm: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok()
        };
        match (&self.material, algorithm) {
            (Material::Rsa(n, e), A::Rs256) => rsa(&signature::RSA_PKCS1_2048_8192_SHA256, n, e),
            (Material::Rsa(n, e), A::Rs384) => rsa(&signature::RSA_PKCS1_2048_8192_SHA384, n, e),
            (Material::Rsa(n, e), A::Rs512) => rsa(&signature::RSA_PKCS1_2048_8192_SHA512, n, e),
            (Material::Rsa(n, e), A::Ps256) => rsa(&signature::RSA_PSS_2048_8192_SHA256, n, e),
            (Material::P256(point), A::Es256) => plain(&signature::ECDSA_P256_SHA256_FIXED, point),
            (Material::P384(point), A::Es384) => plain(&signature::ECDSA_P384_SHA384_FIXED, point),
            (Material::Ed25519(key), A::EdDsa) => plain(&signature::ED25519, key),
            _ => false,
        }
    }
}

/// What a token calls it.
pub fn name(algorithm: JwtAlgorithm) -> &'static str {
    match algorithm {
        JwtAlgorithm::Rs256 => "RS256",
        JwtAlgorithm::Rs384 => "RS384",
        JwtAlgorithm::Rs512 => "RS512",
        JwtAlgorithm::Es256 => "ES256",
        JwtAlgorithm::Es384 => "ES384",
        JwtAlgorithm::Ps256 => "PS256",
        JwtAlgorithm::EdDsa => "EdDSA",
    }
}
