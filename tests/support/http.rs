//! A plain HTTP/1.1 client, one connection a request, for what no client of ours would send.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::PATIENCE;

/// Where a server listens.
#[derive(Clone, Debug)]
pub(crate) enum Server {
    /// `127.0.0.1:PORT`
    Tcp(String),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Server {
    /// The server behind `http://…`.
    pub(crate) fn url(url: &str) -> Self {
        Self::Tcp(url.trim_start_matches("http://").to_owned())
    }

    /// The server behind a socket.
    pub(crate) fn socket(path: &Path) -> Self {
        Self::Unix(path.to_owned())
    }
}

/// A response.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Response {
    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Sends a request and reads the whole response.
pub(crate) fn request(
    server: &Server,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Response> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: arbiter\r\nconnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    let message = [head.as_bytes(), body].concat();
    let answer = match server {
        Server::Tcp(address) => {
            let stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            exchange(stream, &message)?
        }
        Server::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            exchange(stream, &message)?
        }
    };
    let broken = || std::io::Error::other("no HTTP response");
    let text = String::from_utf8(answer).map_err(std::io::Error::other)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(broken)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(broken)?;
    Ok(Response { status, body: body.to_owned() })
}

/// `GET path`.
pub(crate) fn get(server: &Server, path: &str) -> std::io::Result<Response> {
    request(server, "GET", path, &[], b"")
}

/// `POST path` as the agent whose token this is.
pub(crate) fn post(server: &Server, path: &str, token: &str, body: &[u8]) -> std::io::Result<Response> {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    request(server, "POST", path, &headers, body)
}

fn exchange(mut stream: impl Read + Write, message: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(message)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}
