// usleep is none of C11
#define _DEFAULT_SOURCE
// POLLRDHUP is Linux's own
#define _GNU_SOURCE

#include "http_server.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <stdatomic.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

// What of libmicrohttpd is used, as its header declares it.
struct MHD_Daemon;
struct MHD_Connection;
struct MHD_Response;
typedef int (*access_handler)(
  void *, struct MHD_Connection *, const char *, const char *, const char *, const char *, size_t *, void **);
typedef void (*completed_callback)(void *, struct MHD_Connection *, void **, int);
typedef ssize_t (*content_reader)(void *, uint64_t, char *, size_t);

enum {
  USE_THREAD_PER_CONNECTION = 4,
  USE_INTERNAL_POLLING_THREAD = 8,
  USE_POLL = 64,
  USE_ITC = 1024,
  OPTION_END = 0,
  OPTION_CONNECTION_LIMIT = 2,
  OPTION_CONNECTION_TIMEOUT = 3,
  OPTION_NOTIFY_COMPLETED = 4,
  OPTION_SOCK_ADDR = 6,
  OPTION_THREAD_STACK_SIZE = 19,
  HEADER_KIND = 1,
  MUST_COPY = 2,
  INFO_BIND_PORT = 6,
  INFO_CONNECTION_SOCKET = 6,
};
#define SIZE_UNKNOWN UINT64_MAX

static struct {
  struct MHD_Daemon *(*start_daemon)(unsigned, uint16_t, void *, void *, access_handler, void *, ...);
  void (*stop_daemon)(struct MHD_Daemon *);
  int (*quiesce_daemon)(struct MHD_Daemon *);
  const void *(*get_daemon_info)(struct MHD_Daemon *, int, ...);
  const void *(*get_connection_info)(struct MHD_Connection *, int, ...);
  const char *(*lookup_connection_value)(struct MHD_Connection *, int, const char *);
  struct MHD_Response *(*create_response_from_buffer)(size_t, void *, int);
  struct MHD_Response *(*create_response_from_callback)(uint64_t, size_t, content_reader, void *, void (*)(void *));
  int (*add_response_header)(struct MHD_Response *, const char *, const char *);
  int (*queue_response)(struct MHD_Connection *, unsigned, struct MHD_Response *);
  void (*destroy_response)(struct MHD_Response *);
} mhd;

static const char *load(void) {
  static int is_loaded;
  if (is_loaded) return NULL;
  void *library = dlopen("libmicrohttpd.so.12", RTLD_NOW | RTLD_LOCAL);
  if (!library) return "libmicrohttpd is not installed: apt install libmicrohttpd12 (Debian 13: libmicrohttpd12t64)";
  const struct {
    const char *name;
    void **place;
  } functions[] = {
    {"MHD_start_daemon", (void **)&mhd.start_daemon},
    {"MHD_stop_daemon", (void **)&mhd.stop_daemon},
    {"MHD_quiesce_daemon", (void **)&mhd.quiesce_daemon},
    {"MHD_get_daemon_info", (void **)&mhd.get_daemon_info},
    {"MHD_get_connection_info", (void **)&mhd.get_connection_info},
    {"MHD_lookup_connection_value", (void **)&mhd.lookup_connection_value},
    {"MHD_create_response_from_buffer", (void **)&mhd.create_response_from_buffer},
    {"MHD_create_response_from_callback", (void **)&mhd.create_response_from_callback},
    {"MHD_add_response_header", (void **)&mhd.add_response_header},
    {"MHD_queue_response", (void **)&mhd.queue_response},
    {"MHD_destroy_response", (void **)&mhd.destroy_response},
  };
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    *functions[i].place = dlsym(library, functions[i].name);
    if (!*functions[i].place) return "libmicrohttpd is too old: 0.9.71 or later is needed";
  }
  is_loaded = 1;
  return NULL;
}

struct http_server {
  struct MHD_Daemon *daemon;
  http_options options;
  uint16_t port;
  atomic_int open; // requests that have no answer yet, or not all of it
};

struct http_request {
  struct MHD_Connection *connection;
  const char *method;
  const char *path;
  char *body;
  size_t size, capacity;
  int is_too_long;
  int result; // of queueing the answer
};

static int on_access(
  void *context, struct MHD_Connection *connection, const char *path, const char *method, const char *version,
  const char *upload, size_t *upload_size, void **state) {
  (void)version;
  http_server *server = context;
  http_request *request = *state;
  if (!request) {
    *state = calloc(1, sizeof(http_request));
    if (*state) atomic_fetch_add(&server->open, 1);
    return *state != NULL;
  }
  if (*upload_size) {
    size_t wanted = request->size + *upload_size;
    if (wanted > server->options.body_bytes) {
      request->is_too_long = 1;
    } else if (!request->is_too_long) {
      if (wanted > request->capacity) {
        size_t capacity = wanted < 4096 ? 4096 : 2 * wanted;
        char *larger = realloc(request->body, capacity);
        if (!larger) return 0;
        request->body = larger;
        request->capacity = capacity;
      }
      memcpy(request->body + request->size, upload, *upload_size);
      request->size = wanted;
    }
    *upload_size = 0;
    return 1;
  }
  request->connection = connection;
  request->method = method;
  request->path = path;
  request->result = 0;
  server->options.answer(server->options.context, request);
  return request->result;
}

static void on_completed(void *context, struct MHD_Connection *connection, void **state, int reason) {
  (void)connection;
  (void)reason;
  http_server *server = context;
  http_request *request = *state;
  if (!request) return;
  atomic_fetch_sub(&server->open, 1);
  free(request->body);
  free(request);
  *state = NULL;
}

http_server *http_start(const http_options *options, char *reason, size_t reason_size) {
  const char *missing = load();
  if (missing) {
    snprintf(reason, reason_size, "%s", missing);
    return NULL;
  }
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(options->port)};
  if (inet_pton(AF_INET, options->address, &address.sin_addr) != 1) {
    snprintf(reason, reason_size, "%s is no IPv4 address", options->address);
    return NULL;
  }
  // Tried first, because the library does not say why it fails.
  int probe = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
  setsockopt(probe, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (probe < 0 || bind(probe, (struct sockaddr *)&address, sizeof address)) {
    snprintf(reason, reason_size, "%s:%u: %m", options->address, options->port);
    if (probe >= 0) close(probe);
    return NULL;
  }
  close(probe);
  http_server *server = calloc(1, sizeof *server);
  if (!server) return NULL;
  server->options = *options;
  server->daemon = mhd.start_daemon(
    USE_THREAD_PER_CONNECTION | USE_INTERNAL_POLLING_THREAD | USE_POLL | USE_ITC, options->port, NULL, NULL, on_access,
    server, OPTION_SOCK_ADDR, &address, OPTION_CONNECTION_LIMIT, options->connections, OPTION_CONNECTION_TIMEOUT,
    options->timeout_seconds, OPTION_NOTIFY_COMPLETED, (completed_callback)on_completed, server, OPTION_THREAD_STACK_SIZE,
    (size_t)1 << 20, OPTION_END);
  if (!server->daemon) {
    snprintf(reason, reason_size, "%s:%u: the server cannot be started", options->address, options->port);
    free(server);
    return NULL;
  }
  const uint16_t *port = mhd.get_daemon_info(server->daemon, INFO_BIND_PORT);
  server->port = port && *port ? *port : options->port;
  return server;
}

uint16_t http_port(const http_server *server) { return server->port; }

void http_stop(http_server *server) {
  int listening = mhd.quiesce_daemon(server->daemon);
  if (listening >= 0) close(listening);
  // What is answered still has to reach its reader; one that does not read is not waited for.
  for (int i = 0; i < 100 && atomic_load(&server->open) > 0; i++) usleep(50000);
  mhd.stop_daemon(server->daemon);
  free(server);
}

const char *http_method(const http_request *request) { return request->method; }
const char *http_path(const http_request *request) { return request->path; }
const char *http_header(const http_request *request, const char *name) {
  return mhd.lookup_connection_value(request->connection, HEADER_KIND, name);
}
const void *http_body(const http_request *request) { return request->body; }
size_t http_body_size(const http_request *request) { return request->size; }
int http_is_too_long(const http_request *request) { return request->is_too_long; }
int http_is_gone(const http_request *request) {
  const int *connection = mhd.get_connection_info(request->connection, INFO_CONNECTION_SOCKET);
  struct pollfd state = {.fd = connection ? *connection : -1, .events = POLLRDHUP};
  return poll(&state, 1, 0) == 1 && (state.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

void http_reply(
  http_request *request, unsigned status, const char *content_type, const void *bytes, size_t size,
  const char *extra_name, const char *extra_value) {
  struct MHD_Response *response = mhd.create_response_from_buffer(size, (void *)bytes, MUST_COPY);
  if (!response) return;
  mhd.add_response_header(response, "Content-Type", content_type);
  if (extra_name) mhd.add_response_header(response, extra_name, extra_value);
  request->result = mhd.queue_response(request->connection, status, response);
  mhd.destroy_response(response);
}

struct stream {
  long (*pull)(void *, char *, size_t);
  void (*finish)(void *);
  void *context;
};

static ssize_t on_read(void *context, uint64_t place, char *target, size_t size) {
  (void)place;
  struct stream *stream = context;
  return stream->pull(stream->context, target, size);
}

static void on_finish(void *context) {
  struct stream *stream = context;
  stream->finish(stream->context);
  free(stream);
}

void http_stream(
  http_request *request, unsigned status, const char *content_type, long (*pull)(void *, char *, size_t),
  void (*finish)(void *), void *context) {
  struct stream *stream = malloc(sizeof *stream);
  if (!stream) {
    finish(context);
    return;
  }
  *stream = (struct stream){pull, finish, context};
  struct MHD_Response *response = mhd.create_response_from_callback(SIZE_UNKNOWN, 1 << 14, on_read, stream, on_finish);
  if (!response) {
    on_finish(stream);
    return;
  }
  mhd.add_response_header(response, "Content-Type", content_type);
  mhd.add_response_header(response, "Cache-Control", "no-cache");
  request->result = mhd.queue_response(request->connection, status, response);
  mhd.destroy_response(response);
}
