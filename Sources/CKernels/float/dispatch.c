// Which float kernels this machine can run.
#include "../include/float_kernels.h"

#include <string.h>

extern const el_float_kernels el_float_kernels_portable;
#if defined(__x86_64__)
extern const el_float_kernels el_float_kernels_sse42, el_float_kernels_avx2, el_float_kernels_avx512, el_float_kernels_avx512bf16;
#elif defined(__aarch64__)
extern const el_float_kernels el_float_kernels_neon;
#endif

const char *const *el_float_kernel_names(void) {
#if defined(__x86_64__)
  static const char *const names[] = {"portable", "sse42", "avx2", "avx512", "avx512bf16", NULL};
#elif defined(__aarch64__)
  static const char *const names[] = {"portable", "neon", NULL};
#else
  static const char *const names[] = {"portable", NULL};
#endif
  return names;
}

const el_float_kernels *el_float_kernels_named(const char *name) {
  if (strcmp(name, "portable") == 0) return &el_float_kernels_portable;
#if defined(__x86_64__)
  if (strcmp(name, "sse42") == 0 && __builtin_cpu_supports("sse4.2")) return &el_float_kernels_sse42;
  if (strcmp(name, "avx2") == 0 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    return &el_float_kernels_avx2;
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq")) {
    if (strcmp(name, "avx512") == 0) return &el_float_kernels_avx512;
    if (strcmp(name, "avx512bf16") == 0 && __builtin_cpu_supports("avx512bf16") &&
        __builtin_cpu_supports("avx512vnni"))
      return &el_float_kernels_avx512bf16;
  }
#elif defined(__aarch64__)
  if (strcmp(name, "neon") == 0) return &el_float_kernels_neon;
#endif
  return NULL;
}
