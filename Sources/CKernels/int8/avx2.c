// Integer kernels for AVX2. `vpmaddwd` adds two products of 16 bits in 32: codes of inputs and of their panels are widened
// when they are stored. Gradients, whose codes are smaller, go through `vpmaddubsw`, which multiplies unsigned with signed
// bytes and adds two products in 16 bits, and through `vpmaddwd` with ones.
#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "../include/int8_kernels.h"

#define FN(name) name##_avx2
#define KERNEL_NAME "avx2"

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#include "x86.inc"

#include "biased.inc"

// Input rows are int16 [rows][columns], their panels int16 [k / 2][32][2].
static size_t FN(row_code_bytes)(size_t rows, size_t columns, size_t block) {
  size_t words = rows * columns * 2, biased = FN(biased_row_bytes)(rows, columns, block);
  return words > biased ? words : biased;
}

static size_t FN(panel_code_bytes)(size_t k) { return k * EL_PANEL * 2; }

INLINE void FN(put_codes)(const el_rows *x, size_t row, size_t first, size_t n, const int8_t *codes) {
  if (x->limit == EL_GRADIENT_LIMIT) {
    FN(put_biased_codes)(x, row, first, n, codes);
    return;
  }
  int16_t *out = (int16_t *)x->codes + row * x->columns + first;
  for (size_t i = 0; i < n; i += 16)
    _mm256_storeu_si256((__m256i *)(out + i), _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(codes + i))));
}

INLINE void FN(get_codes)(const el_rows *x, size_t row, int8_t *codes) {
  const int16_t *from = (const int16_t *)x->codes + row * x->columns;
  for (size_t i = 0; i < x->columns; i += 32) {
    __m256i a = _mm256_loadu_si256((const __m256i *)(from + i)), b = _mm256_loadu_si256((const __m256i *)(from + i + 16));
    _mm256_storeu_si256((__m256i *)(codes + i), _mm256_permute4x64_epi64(_mm256_packs_epi16(a, b), 0xd8));
  }
}

INLINE void FN(put_quads)(void *panel, size_t p, size_t j, __m256i v) {
  __m256i *out = (__m256i *)panel + p / 2 * 4 + j / 8;
  // a byte in the upper half of its 16 bits is widened by a shift
  const __m256i low = _mm256_setr_epi8(-1, 0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13, -1, 0, -1, 1, -1, 4, -1, 5,
                                       -1, 8, -1, 9, -1, 12, -1, 13);
  const __m256i high = _mm256_setr_epi8(-1, 2, -1, 3, -1, 6, -1, 7, -1, 10, -1, 11, -1, 14, -1, 15, -1, 2, -1, 3, -1, 6, -1,
                                        7, -1, 10, -1, 11, -1, 14, -1, 15);
  out[0] = _mm256_srai_epi16(_mm256_shuffle_epi8(v, low), 8);
  out[4] = _mm256_srai_epi16(_mm256_shuffle_epi8(v, high), 8);
}

INLINE int32_t FN(panel_code)(const void *panel, size_t p, size_t j) {
  return ((const int16_t *)panel)[(p / 2 * EL_PANEL + j) * 2 + p % 2];
}

#define UNIT 2
#define TILED(name) FN(name##_of_words)
#define STARTS(x, i) NULL
#define START(starts, i) _mm256_set1_epi32(MAGIC_BITS)
// Both products, then both sums: the compiler's own order is slower by an eighth, and spills.
#define STEP(s0, s1, w0, w1, x)                                           \
  do {                                                                    \
    __m256i p0 = _mm256_madd_epi16(w0, x), p1 = _mm256_madd_epi16(w1, x); \
    __asm__ volatile("" : "+x"(p0), "+x"(p1));                            \
    s0 = _mm256_add_epi32(s0, p0);                                        \
    s1 = _mm256_add_epi32(s1, p1);                                        \
    __asm__ volatile("" : "+x"(s0), "+x"(s1));                            \
  } while (0)
#include "tile256.inc"
#undef UNIT
#undef TILED
#undef STARTS
#undef START
#undef STEP

// No register is left for the ones.
static const int16_t FN(ones)[16] __attribute__((aligned(32))) = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

#define UNIT 4
#define TILED(name) FN(name##_of_bytes)
#define STARTS(x, i) (FN(starts)(x) + (i))
#define START(starts, i) _mm256_set1_epi32((starts)[i])
#define STEP(s0, s1, w0, w1, x)                                                 \
  do {                                                                          \
    __m256i p0 = _mm256_maddubs_epi16(w0, x), p1 = _mm256_maddubs_epi16(w1, x); \
    __asm__("vpmaddwd %1, %0, %0" : "+x"(p0) : "m"(FN(ones)));                  \
    __asm__("vpmaddwd %1, %0, %0" : "+x"(p1) : "m"(FN(ones)));                  \
    s0 = _mm256_add_epi32(s0, p0);                                              \
    s1 = _mm256_add_epi32(s1, p1);                                              \
    __asm__ volatile("" : "+x"(s0), "+x"(s1));                                  \
  } while (0)
#include "tile256.inc"

static void FN(gemm)(const el_rows *x, size_t row, size_t m, size_t first, size_t k, const el_panel *panel, float *y,
                     size_t ldy, size_t columns, int accumulate) {
  if (x->limit == EL_GRADIENT_LIMIT) FN(gemm_of_bytes)(x, row, m, first, k, panel, y, ldy, columns, accumulate);
  else FN(gemm_of_words)(x, row, m, first, k, panel, y, ldy, columns, accumulate);
}

#include "table.inc"
#pragma clang attribute pop
#endif
