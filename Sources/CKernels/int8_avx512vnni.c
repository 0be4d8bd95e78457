// Integer kernels for AVX-512 VNNI: `vpdpbusd` multiplies unsigned with signed bytes, so rows are biased by 128 and the
// panel's sums take the bias away.
#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "include/int8_kernels.h"

#define FN(name) name##_avx512vnni
#define KERNEL_NAME "avx512vnni"

#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma"))), apply_to = function)

static inline __attribute__((always_inline)) __m256i FN(lookup64)(const uint8_t *p, __m256i table, int high_first,
                                                                  __m256i *second) {
  __m256i v = _mm256_loadu_si256((const __m256i *)p), mask = _mm256_set1_epi8(15);
  __m256i low = _mm256_shuffle_epi8(table, _mm256_and_si256(v, mask));
  __m256i high = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(v, 4), mask));
  __m256i even = high_first ? high : low, odd = high_first ? low : high;
  __m256i a = _mm256_unpacklo_epi8(even, odd), b = _mm256_unpackhi_epi8(even, odd);
  *second = _mm256_permute2x128_si256(a, b, 0x31);
  return _mm256_permute2x128_si256(a, b, 0x20);
}

static inline void FN(unpack)(size_t n, const uint8_t *packed, const int8_t table[16], int high_first, int8_t *codes) {
  __m128i t = _mm_loadu_si128((const __m128i *)table);
  __m256i wide = _mm256_broadcastsi128_si256(t), second;
  size_t i = 0;
  for (; i + 64 <= n; i += 64) {
    __m256i first = FN(lookup64)(packed + i / 2, wide, high_first, &second);
    _mm256_storeu_si256((__m256i *)(codes + i), first);
    _mm256_storeu_si256((__m256i *)(codes + i + 32), second);
  }
  for (; i < n; i += 32) {
    __m128i v = _mm_loadu_si128((const __m128i *)(packed + i / 2)), mask = _mm_set1_epi8(15);
    __m128i low = _mm_shuffle_epi8(t, _mm_and_si128(v, mask));
    __m128i high = _mm_shuffle_epi8(t, _mm_and_si128(_mm_srli_epi16(v, 4), mask));
    __m128i even = high_first ? high : low, odd = high_first ? low : high;
    _mm_storeu_si128((__m128i *)(codes + i), _mm_unpacklo_epi8(even, odd));
    _mm_storeu_si128((__m128i *)(codes + i + 16), _mm_unpackhi_epi8(even, odd));
  }
}

// ROWS x 32: 2 * ROWS integer and as many float accumulators; 6 rows leave registers for two weights and a broadcast.
#define TILE(ROWS)                                                                                                    \
  static __attribute__((noinline)) void FN(tile##ROWS)(size_t k, size_t block, const int8_t *x, size_t ldx, const float *sx,  \
                                                       size_t ldsx, const el_panel *panel, float *y, size_t ldy,      \
                                                       __mmask16 low, __mmask16 high, int accumulate) {               \
    __m512 f[ROWS][2];                                                                                                \
    for (int i = 0; i < ROWS; i++) {                                                                                  \
      f[i][0] = accumulate ? _mm512_maskz_loadu_ps(low, y + (size_t)i * ldy) : _mm512_setzero_ps();                   \
      f[i][1] = accumulate ? _mm512_maskz_loadu_ps(high, y + (size_t)i * ldy + 16) : _mm512_setzero_ps();             \
    }                                                                                                                 \
    const int8_t *w = panel->codes;                                                                                   \
    for (size_t b = 0; b * block < k; b++) {                                                                          \
      __m512i s[ROWS][2];                                                                                             \
      __m512i bias0 = _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_loadu_si512(panel->sums + b * EL_PANEL));       \
      __m512i bias1 = _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_loadu_si512(panel->sums + b * EL_PANEL + 16));  \
      for (int i = 0; i < ROWS; i++) {                                                                                \
        s[i][0] = bias0;                                                                                              \
        s[i][1] = bias1;                                                                                              \
      }                                                                                                               \
      const int8_t *p = x + b * block;                                                                                \
      for (size_t g = 0; g < block / 4; g++, w += EL_PANEL * 4) {                                                     \
        __m512i w0 = _mm512_loadu_si512(w), w1 = _mm512_loadu_si512(w + 64);                                          \
        for (int i = 0; i < ROWS; i++) {                                                                              \
          int32_t four;                                                                                               \
          memcpy(&four, p + (size_t)i * ldx + g * 4, 4);                                                              \
          __m512i v = _mm512_set1_epi32(four);                                                                        \
          s[i][0] = _mm512_dpbusd_epi32(s[i][0], v, w0);                                                              \
          s[i][1] = _mm512_dpbusd_epi32(s[i][1], v, w1);                                                              \
        }                                                                                                             \
      }                                                                                                               \
      __m512 sw0 = _mm512_loadu_ps(panel->scales + b * EL_PANEL);                                                     \
      __m512 sw1 = _mm512_loadu_ps(panel->scales + b * EL_PANEL + 16);                                                \
      for (int i = 0; i < ROWS; i++) {                                                                                \
        __m512 scale = _mm512_set1_ps(sx[(size_t)i * ldsx + b]);                                                      \
        f[i][0] = _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(s[i][0]), sw0), scale, f[i][0]);                   \
        f[i][1] = _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(s[i][1]), sw1), scale, f[i][1]);                   \
      }                                                                                                               \
    }                                                                                                                 \
    for (int i = 0; i < ROWS; i++) {                                                                                  \
      _mm512_mask_storeu_ps(y + (size_t)i * ldy, low, f[i][0]);                                                       \
      _mm512_mask_storeu_ps(y + (size_t)i * ldy + 16, high, f[i][1]);                                                 \
    }                                                                                                                 \
  }

TILE(1)
TILE(2)
TILE(6)

// Rows are biased here, 6 at a time, so that the codes in memory are the same on every instruction set.

static void FN(gemm)(size_t m, size_t k, size_t block, const int8_t *x, size_t ldx, const float *sx, size_t ldsx,
                     const el_panel *panel, float *y, size_t ldy, size_t columns, int accumulate) {
  __mmask16 low = (__mmask16)(columns >= 16 ? 0xffff : (1u << columns) - 1);
  __mmask16 high = (__mmask16)(columns >= 32 ? 0xffff : columns > 16 ? (1u << (columns - 16)) - 1 : 0);
  int8_t biased[6 * 4096] __attribute__((aligned(64)));
  // longer reductions go in slabs that continue the sums: whole blocks, in order, so the floats stay the same
  size_t slab = 4096 / block * block;
  for (size_t i = 0; i < m;) {
    size_t rows = m - i >= 6 ? 6 : m - i >= 2 ? 2 : 1;
    for (size_t start = 0; start < k; start += slab) {
      size_t count = k - start < slab ? k - start : slab;
      for (size_t r = 0; r < rows; r++)
        for (size_t p = 0; p < count; p++) biased[r * count + p] = (int8_t)(x[(i + r) * ldx + start + p] ^ (int8_t)0x80);
      el_panel part = {panel->codes + start * EL_PANEL, panel->scales + start / block * EL_PANEL,
                       panel->sums + start / block * EL_PANEL};
      const float *scales = sx + i * ldsx + start / block;
      float *out = y + i * ldy;
      int add = accumulate || start > 0;
      if (rows == 6) FN(tile6)(count, block, biased, count, scales, ldsx, &part, out, ldy, low, high, add);
      else if (rows == 2) FN(tile2)(count, block, biased, count, scales, ldsx, &part, out, ldy, low, high, add);
      else FN(tile1)(count, block, biased, count, scales, ldsx, &part, out, ldy, low, high, add);
    }
    i += rows;
  }
}

#include "int8_body.inc"
#pragma clang attribute pop
#endif
