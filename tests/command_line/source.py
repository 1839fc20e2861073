"""A web server of bundles over TLS: python3 source.py CERTIFICATE KEY FOLDER.

It serves the files of FOLDER with ETags, as FOLDER/mode says: `ok`, or a status. What it is asked, and what it answers,
goes into FOLDER/log. Its port is its first line of output.
"""

import hashlib
import http.server
import pathlib
import ssl
import sys

certificate, key, folder = sys.argv[1:]
folder = pathlib.Path(folder)


class Source(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, headers=(), body=b""):
        known = self.headers.get("if-none-match")
        token = self.headers.get("authorization")
        with open(folder / "log", "a") as log:
            log.write(f"{self.path} {known} {token} {status}\n")
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if status != 304:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        mode = (folder / "mode").read_text().strip()
        if mode != "ok":
            return self.answer(int(mode), [("location", "https://192.0.2.1/other.bundle")])
        file = folder / self.path.lstrip("/")
        if not file.is_file():
            return self.answer(404)
        body = file.read_bytes()
        mark = '"' + hashlib.sha256(body).hexdigest() + '"'
        if self.headers.get("if-none-match") == mark:
            return self.answer(304, [("etag", mark)])
        return self.answer(200, [("etag", mark)], body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Source)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
