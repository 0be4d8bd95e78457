// Integer kernels for AVX2: `vpmaddubsw` adds two byte products in 16 bits. |x| times w with the sign of x is exact,
// because 2 * 127 * 127 fits.
#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "include/int8_kernels.h"

#define FN(name) name##_avx2
#define KERNEL_NAME "avx2"

#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)

static inline void FN(unpack)(size_t n, const uint8_t *packed, const int8_t table[16], int high_first, int8_t *codes) {
  __m128i t = _mm_loadu_si128((const __m128i *)table), mask = _mm_set1_epi8(15);
  for (size_t i = 0; i < n; i += 32) {
    __m128i v = _mm_loadu_si128((const __m128i *)(packed + i / 2));
    __m128i low = _mm_shuffle_epi8(t, _mm_and_si128(v, mask));
    __m128i high = _mm_shuffle_epi8(t, _mm_and_si128(_mm_srli_epi16(v, 4), mask));
    __m128i even = high_first ? high : low, odd = high_first ? low : high;
    _mm_storeu_si128((__m128i *)(codes + i), _mm_unpacklo_epi8(even, odd));
    _mm_storeu_si128((__m128i *)(codes + i + 16), _mm_unpackhi_epi8(even, odd));
  }
}

// ROWS x 16 columns: 8 integer accumulators for 4 rows, and registers for two weights and the products.
#define TILE(ROWS)                                                                                                   \
  static inline __attribute__((always_inline)) void FN(tile##ROWS)(                                                  \
      size_t k, size_t block, const int8_t *x, size_t ldx, const float *sx, size_t ldsx, const el_panel *panel,      \
      size_t column, float *out) {                                                                                   \
    for (size_t b = 0; b * block < k; b++) {                                                                         \
      __m256i s[ROWS][2];                                                                                            \
      for (int i = 0; i < ROWS; i++) s[i][0] = s[i][1] = _mm256_setzero_si256();                                     \
      const int8_t *w = panel->codes + b * block * EL_PANEL + column * 4;                                            \
      for (size_t g = 0; g < block / 4; g++, w += EL_PANEL * 4) {                                                    \
        __m256i w0 = _mm256_loadu_si256((const __m256i *)w), w1 = _mm256_loadu_si256((const __m256i *)(w + 32));     \
        for (int i = 0; i < ROWS; i++) {                                                                             \
          int32_t four;                                                                                              \
          memcpy(&four, x + (size_t)i * ldx + b * block + g * 4, 4);                                                 \
          __m256i v = _mm256_set1_epi32(four), a = _mm256_abs_epi8(v), ones = _mm256_set1_epi16(1);                  \
          __m256i p0 = _mm256_maddubs_epi16(a, _mm256_sign_epi8(w0, v));                                             \
          __m256i p1 = _mm256_maddubs_epi16(a, _mm256_sign_epi8(w1, v));                                             \
          s[i][0] = _mm256_add_epi32(s[i][0], _mm256_madd_epi16(p0, ones));                                          \
          s[i][1] = _mm256_add_epi32(s[i][1], _mm256_madd_epi16(p1, ones));                                          \
        }                                                                                                            \
      }                                                                                                              \
      for (int i = 0; i < ROWS; i++)                                                                                 \
        for (int j = 0; j < 2; j++) {                                                                                \
          float *o = out + (size_t)i * EL_PANEL + column + (size_t)j * 8;                                            \
          __m256 sw = _mm256_loadu_ps(panel->scales + b * EL_PANEL + column + (size_t)j * 8);                        \
          __m256 scale = _mm256_set1_ps(sx[(size_t)i * ldsx + b]);                                                   \
          _mm256_storeu_ps(                                                                                          \
              o, _mm256_fmadd_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(s[i][j]), sw), scale, _mm256_loadu_ps(o)));        \
        }                                                                                                            \
    }                                                                                                                \
  }

TILE(1)
TILE(4)

static void FN(gemm)(size_t m, size_t k, size_t block, const int8_t *x, size_t ldx, const float *sx, size_t ldsx,
                     const el_panel *panel, float *y, size_t ldy, size_t columns, int accumulate) {
  for (size_t i = 0; i < m;) {
    size_t rows = m - i >= 4 ? 4 : 1;
    float out[4 * EL_PANEL] __attribute__((aligned(32))) = {0};
    if (accumulate)
      for (size_t r = 0; r < rows; r++) memcpy(out + r * EL_PANEL, y + (i + r) * ldy, columns * sizeof(float));
    for (size_t column = 0; column < columns; column += 16) {
      if (rows == 4) FN(tile4)(k, block, x + i * ldx, ldx, sx + i * ldsx, ldsx, panel, column, out);
      else FN(tile1)(k, block, x + i * ldx, ldx, sx + i * ldsx, ldsx, panel, column, out);
    }
    for (size_t r = 0; r < rows; r++) memcpy(y + (i + r) * ldy, out + r * EL_PANEL, columns * sizeof(float));
    i += rows;
  }
}

#include "int8_body.inc"
#pragma clang attribute pop
#endif
