#ifndef EDGELORA_HTTP_SERVER_H
#define EDGELORA_HTTP_SERVER_H

#include <stddef.h>
#include <stdint.h>

// An HTTP server on GNU libmicrohttpd, which is loaded when a server starts: the program does without it otherwise.
// Each connection has a thread of its own. Source of the interface: microhttpd.h of libmicrohttpd 0.9.71 and later.

typedef struct http_server http_server;
typedef struct http_request http_request;

typedef struct {
  const char *address;      // dotted IPv4 address to listen on
  uint16_t port;            // 0 for any that is free
  unsigned connections;     // at once, at most
  unsigned timeout_seconds; // without anything coming or going
  size_t body_bytes;        // of a request, at most; a longer one is answered with 413
  // Answers a whole request, on the thread of its connection.
  void (*answer)(void *context, http_request *request);
  void *context;
} http_options;

// Starts a server; NULL with a reason in `reason` if it cannot.
http_server *http_start(const http_options *options, char *reason, size_t reason_size);
// The port that it listens on.
uint16_t http_port(const http_server *server);
// Takes no more connections, waits for those that are open, and ends.
void http_stop(http_server *server);

const char *http_method(const http_request *request);
const char *http_path(const http_request *request);
// A header of the request; NULL without one.
const char *http_header(const http_request *request, const char *name);
const void *http_body(const http_request *request);
size_t http_body_size(const http_request *request);
// Whether the body was longer than it may be; it is not there then.
int http_is_too_long(const http_request *request);
// Whether who asked has closed the connection.
int http_is_gone(const http_request *request);

// Answers a request. `extra_name` and `extra_value` are one more header, or NULL.
void http_reply(
  http_request *request, unsigned status, const char *content_type, const void *bytes, size_t size,
  const char *extra_name, const char *extra_value);

// Answers with bytes that come by and by. `pull` waits for some and returns their number, or -1 at the end; `finish` is called
// once when nobody reads any more, however that came.
void http_stream(
  http_request *request, unsigned status, const char *content_type, long (*pull)(void *stream, char *target, size_t size),
  void (*finish)(void *stream), void *stream);

#endif
