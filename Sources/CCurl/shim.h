// Calls of libcurl through addresses that were looked up at run time: the program neither is linked with it nor needs its
// headers. `curl_easy_setopt` and `curl_easy_getinfo` take any type as their last argument, which Swift cannot call. Numbers
// are those of the stable interface of libcurl.so.4.
#ifndef CCURL_SHIM_H
#define CCURL_SHIM_H
#include <stddef.h>
#include <stdint.h>

// Gets `size * count` bytes and returns how many it took; fewer end the transfer.
typedef size_t (*curl_data_function)(char *bytes, size_t size, size_t count, void *context);
// Is called about once a second, also when nothing comes; anything but 0 ends the transfer.
typedef int (*curl_progress_function)(void *context, int64_t, int64_t, int64_t, int64_t);

enum {
  curl_option_write_data = 10001,
  curl_option_url = 10002,
  curl_option_range = 10007,
  curl_option_error_buffer = 10010,
  curl_option_user_agent = 10018,
  curl_option_headers = 10023,
  curl_option_header_data = 10029,
  curl_option_progress_data = 10057,
  curl_option_protocols = 10318,
  curl_option_redirect_protocols = 10319,
  curl_option_low_speed_limit = 19,
  curl_option_low_speed_time = 20,
  curl_option_no_progress = 43,
  curl_option_follow_location = 52,
  curl_option_most_redirects = 68,
  curl_option_connect_timeout = 78,
  curl_option_no_signal = 99,
  curl_option_write_function = 20011,
  curl_option_header_function = 20079,
  curl_option_progress_function = 20219,
};

static inline int curl_set_long(void *setopt, void *handle, int option, long value) {
  return ((int (*)(void *, int, ...))setopt)(handle, option, value);
}
static inline int curl_set_pointer(void *setopt, void *handle, int option, const void *value) {
  return ((int (*)(void *, int, ...))setopt)(handle, option, value);
}
static inline int curl_set_data_function(void *setopt, void *handle, int option, curl_data_function value) {
  return ((int (*)(void *, int, ...))setopt)(handle, option, value);
}
static inline int curl_set_progress_function(void *setopt, void *handle, int option, curl_progress_function value) {
  return ((int (*)(void *, int, ...))setopt)(handle, option, value);
}

#endif
