// Which integer kernels this machine can run.
#include <string.h>

#include "../include/int8_kernels.h"

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

extern const el_int8_kernels el_int8_kernels_portable;
#if defined(__x86_64__)
#include <cpuid.h>
extern const el_int8_kernels el_int8_kernels_sse42, el_int8_kernels_avx2, el_int8_kernels_avxvnni, el_int8_kernels_avx512vnni;

// The operating system's part is that of AVX2, which has the same registers.
static int has_avxvnni(void) {
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
}

// Not every compiler's __builtin_cpu_supports knows the name.
static int has_f16c(void) {
  unsigned a, b, c, d;
  return __get_cpuid(1, &a, &b, &c, &d) && (c >> 29 & 1);
}
#elif defined(__aarch64__)
extern const el_int8_kernels el_int8_kernels_neon, el_int8_kernels_dotprod, el_int8_kernels_i8mm;
#endif

const char *const *el_int8_kernel_names(void) {
#if defined(__x86_64__)
  static const char *const names[] = {"portable", "sse42", "avx2", "avxvnni", "avx512vnni", NULL};
#elif defined(__aarch64__)
  static const char *const names[] = {"portable", "neon", "dotprod", "i8mm", NULL};
#else
  static const char *const names[] = {"portable", NULL};
#endif
  return names;
}

const el_int8_kernels *el_int8_kernels_named(const char *name) {
  if (strcmp(name, "portable") == 0) return &el_int8_kernels_portable;
#if defined(__x86_64__)
  if (strcmp(name, "sse42") == 0 && __builtin_cpu_supports("sse4.2")) return &el_int8_kernels_sse42;
  int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
  if (strcmp(name, "avx2") == 0 && avx2) return &el_int8_kernels_avx2;
  if (strcmp(name, "avxvnni") == 0 && avx2 && has_avxvnni()) return &el_int8_kernels_avxvnni;
  if (strcmp(name, "avx512vnni") == 0 && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") && avx2)
    return &el_int8_kernels_avx512vnni;
#elif defined(__aarch64__)
  if (strcmp(name, "neon") == 0) return &el_int8_kernels_neon;
#if defined(__linux__)
  const unsigned long dot_product = 1ul << 20;  // HWCAP_ASIMDDP
  const unsigned long matrix_product = 1ul << 13;  // HWCAP2_I8MM
  int dotprod = (getauxval(AT_HWCAP) & dot_product) != 0;
  if (strcmp(name, "dotprod") == 0 && dotprod) return &el_int8_kernels_dotprod;
  if (strcmp(name, "i8mm") == 0 && dotprod && (getauxval(AT_HWCAP2) & matrix_product)) return &el_int8_kernels_i8mm;
#endif
#endif
  return NULL;
}
