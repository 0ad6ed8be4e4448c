//! Who may connect.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use tonic::Status;
use tonic::metadata::MetadataMap;

use crate::config::Serve;
use crate::tokens::{bearer, same};

/// What a client must show.
#[derive(Clone, Debug, Default)]
pub struct Access {
    token: Option<String>,
}

impl Access {
    /// What the flags say.
    ///
    /// # Errors
    /// The listener can be reached from other hosts, and nothing would keep strangers out; or a file can't be read.
    pub fn new(config: &Serve) -> Result<Self, String> {
        let token = match (&config.token_file, &config.token) {
            (Some(file), _) => Some(read_token(file)?),
            (None, Some(token)) if token.trim().is_empty() => return Err("--token: it is empty".to_owned()),
            (None, token) => token.as_deref().map(|token| token.trim().to_owned()),
        };
        if !config.listen.ip().is_loopback() && token.is_none() && config.tls_client_ca.is_none() {
            return Err(format!(
                "--listen {} can be reached from other hosts, and whoever reaches it could read the mesh and register \
                 endpoints. Give --token-file FILE (clients send the token), or --tls-cert, --tls-key and \
                 --tls-client-ca (clients show a certificate), or listen on 127.0.0.1",
                config.listen
            ));
        }
        Ok(Access { token })
    }

    /// Lets a client in, or says why not.
    pub fn check(&self, metadata: &MetadataMap) -> Result<(), Status> {
        let Some(token) = &self.token else { return Ok(()) };
        // A proxy that registers its task may show another token beside this one.
        let mut shown =
            metadata.get_all("authorization").iter().filter_map(|value| value.to_str().ok()).peekable();
        if shown.peek().is_none() {
            return Err(Status::unauthenticated(
                "this control plane wants a token (bowline-proxy run --control-token-file FILE)",
            ));
        }
        match shown.filter_map(bearer).any(|shown| same(shown.as_bytes(), token.as_bytes())) {
            true => Ok(()),
            false => Err(Status::unauthenticated("this is not the token of this control plane")),
        }
    }
}

fn read_token(file: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    match text.trim() {
        "" => Err(format!("{}: no token in it", file.display())),
        token => Ok(token.to_owned()),
    }
}

/// Where a request comes from; loopback where that can't be told, as in a test without a socket.
pub fn peer<T>(request: &tonic::Request<T>) -> SocketAddr {
    request.remote_addr().unwrap_or(SocketAddr::new(IpAddr::from([127, 0, 0, 1]), 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(authorization: Option<&str>) -> MetadataMap {
        let mut map = MetadataMap::new();
        if let Some(value) = authorization {
            map.insert("authorization", value.parse().unwrap());
        }
        map
    }

    #[test]
    fn only_the_token_opens() {
        let access = Access { token: Some("secret".into()) };
        assert!(access.check(&with(Some("Bearer secret"))).is_ok());
        for wrong in [None, Some("Bearer Secret"), Some("Bearer secret2"), Some("secret"), Some("Bearer ")] {
            assert_eq!(
                access.check(&with(wrong)).unwrap_err().code(),
                tonic::Code::Unauthenticated,
                "{wrong:?}"
            );
        }
        assert!(Access::default().check(&with(None)).is_ok());
    }
}
