"""A server that behaves like the Hugging Face hub, for Tools/check-fetch: commits, trees in pages, large files behind a
redirection to another host with signed addresses, ranges, tokens, and everything that goes wrong on the way."""

import hashlib
import json
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hf_right"


def git_name(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Repository:
    """Files by path; those in `large` are kept outside of Git. `trouble` says what goes wrong."""

    def __init__(self, files, large=(), kind="models", access="", trouble="", revisions=("main",)):
        self.files, self.large, self.kind, self.access, self.trouble = files, set(large), kind, access, trouble
        self.revisions = set(revisions)
        self.commit = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.troubled = 0  # how often something has gone wrong already

    def entry(self, path):
        content = self.files[path]
        found = {"type": "file", "path": path, "size": len(content), "oid": git_name(content)}
        if path in self.large:
            found["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
            found["oid"] = git_name(b"pointer")
        return found


class Hub:
    """The hub and the host of its large files, each on a port of its own."""

    def __init__(self, repositories, page_size=3):
        self.repositories, self.page_size = repositories, page_size
        self.requests = []  # (host, path, range, token)
        self.servers = []
        self.addresses = {}
        for host in ["hub", "cdn"]:
            handler = type(host, (Handler,), {"hub": self, "host": host})
            server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
            server.daemon_threads = True
            server.handle_error = lambda *_: None  # a client that was killed
            threading.Thread(target=server.serve_forever, daemon=True).start()
            self.servers.append(server)
            self.addresses[host] = f"http://127.0.0.1:{server.server_port}"

    def close(self):
        for server in self.servers:
            server.shutdown()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub = host = None

    def log_message(self, *_):
        pass

    def reply(self, status, body=b"", headers=()):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.hub.requests.append((self.host, self.path, self.headers.get("Range"), token))
        try:
            parts = urllib.parse.urlsplit(self.path)
            words = [urllib.parse.unquote(word) for word in parts.path.split("/")[1:]]
            if self.host == "cdn":
                self.large_file("/".join(words[1:]) if words[0] == "signed" else "", parts.query)
            elif words[0] == "api":
                self.api(words[1], "/".join(words[2:4]), words[4:], parts.query, token)
            else:
                kind = "datasets" if words[0] == "datasets" else "models"
                words = words[1:] if kind == "datasets" else words
                self.resolve(kind, "/".join(words[:2]), words[3], "/".join(words[4:]), token)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def repository(self, kind, name, token):
        found = self.hub.repositories.get(name)
        if found is None or found.kind != kind or (found.access == "private" and token != TOKEN):
            status = 404 if token == TOKEN else 401
            self.reply(status, {"error": "Repository not found"}, [("X-Error-Code", "RepoNotFound")])
            return None
        if token not in ("", TOKEN):
            self.reply(401, {"error": "Invalid credentials"})
            return None
        return found

    def fails(self, repository):
        """Trouble with any request."""
        if repository.trouble == "busy" and repository.troubled < 3:
            repository.troubled += 1
            self.reply(429 if repository.troubled < 3 else 503, b"wait", [("Retry-After", "0")])
            return True
        if repository.trouble == "down":
            repository.troubled += 1
            self.reply(500, b"<html>", [("Retry-After", "0")])
            return True
        return False

    def api(self, kind, name, rest, query, token):
        repository = self.repository(kind, name, token)
        if repository is None or self.fails(repository):
            return
        if rest[0] == "revision":
            if rest[1] not in repository.revisions and rest[1] != repository.commit:
                self.reply(404, {"error": "Invalid rev id"}, [("X-Error-Code", "RevisionNotFound")])
                return
            if repository.trouble == "no-json":
                self.reply(200, b"<html>please log in to this network</html>")
                return
            self.reply(200, {"id": name, "sha": repository.commit})
            return
        entries = [{"type": "directory", "path": "onnx", "size": 0, "oid": "0" * 40}]
        entries += [repository.entry(path) for path in sorted(repository.files)]
        if repository.trouble == "outside":
            entries.append(dict(entries[1], path="../outside.txt"))
        if repository.trouble == "huge":
            entries[-1] = dict(entries[-1], lfs={"oid": "0" * 64, "size": 1 << 46, "pointerSize": 1})
        start = int(urllib.parse.parse_qs(query).get("cursor", ["0"])[0])
        end = start + self.hub.page_size
        link = f'<{self.hub.addresses["hub"]}/api/{kind}/{name}/tree/{rest[1]}?recursive=true&cursor={end}>; rel="next"'
        self.reply(200, entries[start:end], [("Link", link)] if end < len(entries) else [])

    def resolve(self, kind, name, commit, path, token):
        repository = self.repository(kind, name, token)
        if repository is None or self.fails(repository):
            return
        if repository.access == "gated":
            self.reply(403, {"error": "Access is restricted"}, [("X-Error-Code", "GatedRepo")])
            return
        if commit != repository.commit or path not in repository.files:
            self.reply(404, b"Entry not found", [("X-Error-Code", "EntryNotFound")])
            return
        entry = repository.entry(path)
        if path in repository.large:
            digest = "f" * 64 if repository.trouble == "changed" else entry["lfs"]["oid"]
            headers = [("X-Linked-Etag", f'"{digest}"'), ("X-Linked-Size", str(entry["size"])),
                       ("X-Repo-Commit", commit)]
            address = f"{self.hub.addresses['cdn']}/signed/{name}/{urllib.parse.quote(path)}?signature={time.time()}"
            self.reply(302, b"Found. Redirecting", headers + [("Location", address)])
        else:
            self.content(repository, repository.files[path], entry["oid"])

    def large_file(self, path, query):
        name, path = "/".join(path.split("/")[:2]), "/".join(path.split("/")[2:])
        repository = self.hub.repositories[name]
        if "signature=" not in query:
            self.reply(403, b"<Error>")
            return
        self.content(repository, repository.files[path], repository.entry(path)["lfs"]["oid"])

    def content(self, repository, content, etag):
        trouble = repository.trouble
        if trouble in ("damaged", "damaged-once") and len(content) > 1000:
            repository.troubled += 1
            if trouble == "damaged" or repository.troubled == 1:
                content = content[:500] + bytes([content[500] ^ 1]) + content[501:]
        if trouble == "short" and len(content) > 1000:
            content = content[:-10]
        if trouble == "long":
            content += b"more"
        start, status, headers = 0, 200, [("ETag", f'"{etag}"'), ("Accept-Ranges", "bytes")]
        wanted = self.headers.get("Range")
        if wanted and trouble != "no-ranges":
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                self.reply(416, b"", [("Content-Range", f"bytes */{len(content)}")])
                return
            if trouble == "wrong-range":
                start = 7
            status = 206
            headers.append(("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"))
        body = content[start:]
        self.send_response(status)
        for name, value in headers + [("Content-Length", str(len(body)))]:
            self.send_header(name, value)
        self.end_headers()
        if trouble in ("cut", "no-ranges", "wrong-range") and len(body) > 100_000:
            repository.troubled += 1
            if trouble == "cut" or repository.troubled == 1:
                self.wfile.write(body[:len(content) // 4])
                self.close_connection = True
                return
        if trouble == "slow":
            for place in range(0, len(body), 16384):
                self.wfile.write(body[place:place + 16384])
                time.sleep(0.02)
            return
        self.wfile.write(body)
