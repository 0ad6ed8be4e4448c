//! What `--register` says.

use std::str::FromStr;

/// One `--register`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The service's `discoveryName`.
    pub service: String,
    /// Where the app listens.
    pub port: u16,
    /// The page that answers 2xx when the app is well; `None`: it is enough that it accepts a connection.
    pub health: Option<String>,
}

impl FromStr for Registration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "expected NAME=PORT or NAME=PORT,health=/path";
        let (service, rest) = text.split_once('=').ok_or(form)?;
        let mut parts = rest.split(',');
        let port = parts.next().unwrap_or_default();
        let port: u16 = port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(|| format!("{port:?} is no port; {form}"))?;
        let mut health = None;
        for part in parts {
            match part.split_once('=') {
                Some(("health", path)) if path.starts_with('/') => health = Some(path.to_owned()),
                Some(("health", path)) => {
                    return Err(format!("the health path {path:?} does not begin with /"));
                }
                _ => return Err(format!("{part:?} is not known; {form}")),
            }
        }
        if service.is_empty() {
            return Err(form.to_owned());
        }
        Ok(Registration { service: service.to_owned(), port, health })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_says_what_is_registered() {
        let plain = Registration { service: "server".into(), port: 9001, health: None };
        assert_eq!("server=9001".parse(), Ok(plain.clone()));
        let checked = Registration { health: Some("/health/ready".into()), ..plain };
        assert_eq!("server=9001,health=/health/ready".parse(), Ok(checked));
        for wrong in
            ["server", "=9001", "server=", "server=0", "server=70000", "server=1,health=x", "server=1,x=/"]
        {
            assert!(wrong.parse::<Registration>().is_err(), "{wrong}");
        }
    }
}
