// A breath between two looks at a word that another thread is about to change.
#ifndef EDGELORA_SPIN_H
#define EDGELORA_SPIN_H

static inline void el_spin_hint(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb");  // `yield` does nothing on most processors
#endif
}

#endif
