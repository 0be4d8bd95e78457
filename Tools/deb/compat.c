// Functions that Swift's libraries of Debian trixie ask of the C library and bookworm's lacks: those of glibc 2.38 that copy
// strings, and the forms of `strtol` and `sscanf` that also read C23's binary numbers, which nobody here writes.
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOCAL __attribute__((visibility("hidden"), used))

LOCAL long __isoc23_strtol(const char *text, char **end, int base) { return strtol(text, end, base); }
LOCAL long long __isoc23_strtoll(const char *text, char **end, int base) { return strtoll(text, end, base); }
LOCAL unsigned long __isoc23_strtoul(const char *text, char **end, int base) { return strtoul(text, end, base); }
LOCAL unsigned long long __isoc23_strtoull(const char *text, char **end, int base) { return strtoull(text, end, base); }

LOCAL int __isoc23_sscanf(const char *text, const char *format, ...) {
  va_list values;
  va_start(values, format);
  int count = vsscanf(text, format, values);
  va_end(values);
  return count;
}

// Copies as much as fits with a zero behind it; the length that was wanted.
LOCAL size_t strlcpy(char *target, const char *source, size_t size) {
  size_t length = strlen(source);
  if (size > 0) {
    size_t count = length < size ? length : size - 1;
    memcpy(target, source, count);
    target[count] = 0;
  }
  return length;
}

LOCAL size_t strlcat(char *target, const char *source, size_t size) {
  size_t length = strnlen(target, size);
  return length + (length < size ? strlcpy(target + length, source, size - length) : strlen(source));
}
