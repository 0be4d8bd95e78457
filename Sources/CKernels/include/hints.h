// What a processor may be told beside its work.
#ifndef EDGELORA_HINTS_H
#define EDGELORA_HINTS_H

#include <stddef.h>

// A breath between two looks at a word that another thread is about to change.
static inline void el_spin_hint(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb");  // `yield` does nothing on most processors
#endif
}

// Asks for bytes that are read soon, into the second-level cache. Pages that are not in memory stay where they are.
static inline void el_prefetch(const void *address, size_t bytes) {
  for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch((const char *)address + i, 0, 2);
}

#endif
