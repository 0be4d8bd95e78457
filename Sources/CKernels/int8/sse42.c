// Integer kernels for SSE4.2, in vectors of 128 bits. As with AVX2 `pmaddwd` adds two products of 16 bits in 32, and
// gradients, whose codes are smaller, go through `pmaddubsw` and through `pmaddwd` with ones. There is no fused
// multiply-add: fused.inc has it to the bit.
#if defined(__x86_64__)
#include <math.h>
#include <nmmintrin.h>
#include <string.h>

#include "../include/int8_kernels.h"

#define FN(name) name##_sse42
#define KERNEL_NAME "sse42"

#pragma clang attribute push(__attribute__((target("sse4.2"))), apply_to = function)
#include "sse_values.inc"

#define MAGIC_BITS 0x4b400000
#define PACK_COLUMNS
#include "biased.inc"

// Input rows are int16 [rows][columns], their panels int16 [k / 4][32][4]. Panels of gradients are bytes, [k / 8][32][8].
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
  for (size_t i = 0; i < n; i += 8)
    _mm_storeu_si128((__m128i *)(out + i), _mm_cvtepi8_epi16(_mm_loadl_epi64((const __m128i *)(codes + i))));
}

INLINE void FN(get_codes)(const el_rows *x, size_t row, int8_t *codes) {
  const int16_t *from = (const int16_t *)x->codes + row * x->columns;
  for (size_t i = 0; i < x->columns; i += 16) {
    __m128i a = _mm_loadu_si128((const __m128i *)(from + i)), b = _mm_loadu_si128((const __m128i *)(from + i + 8));
    _mm_storeu_si128((__m128i *)(codes + i), _mm_packs_epi16(a, b));
  }
}

// The panel's elements [first, first + n) from row-major codes, one row for each of its columns.
INLINE void FN(pack_rows)(size_t first, size_t n, const int8_t *tile, size_t ld, void *panel) {
  for (size_t p = 0; p < n; p += 8)
    for (size_t j = 0; j < EL_PANEL; j += 2) {
      __m128i a = _mm_cvtepi8_epi16(_mm_loadl_epi64((const __m128i *)(tile + j * ld + p)));
      __m128i b = _mm_cvtepi8_epi16(_mm_loadl_epi64((const __m128i *)(tile + (j + 1) * ld + p)));
      __m128i *out = (__m128i *)panel + (first + p) / 4 * 16 + j / 2;
      out[0] = _mm_unpacklo_epi64(a, b);
      out[16] = _mm_unpackhi_epi64(a, b);
    }
}

// Four elements of four columns and the next four of the same.
INLINE void FN(put_quads)(void *panel, size_t p, size_t j, __m128i v, __m128i next) {
  const __m128i bias = _mm_set1_epi8(-128);
  __m128i *out = (__m128i *)panel + p / 8 * 16 + j / 2;
  out[0] = _mm_xor_si128(_mm_unpacklo_epi32(v, next), bias);
  out[1] = _mm_xor_si128(_mm_unpackhi_epi32(v, next), bias);
}

// The panel's elements [first, first + n) from values [n][32], rounded after a multiplication.
INLINE void FN(pack_columns)(size_t first, size_t n, const float *tile, const float *inverse, void *panel) {
  const __m128i turn = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  for (size_t j = 0; j < EL_PANEL; j += 4) {
    __m128 factor = _mm_loadu_ps(inverse + j);
    for (size_t p = 0; p < n; p += 8) {
      __m128i v[8], quads[2];
      for (size_t q = 0; q < 8; q++)
        v[q] = _mm_cvtps_epi32(_mm_mul_ps(_mm_loadu_ps(tile + (p + q) * EL_PANEL + j), factor));
      for (size_t q = 0; q < 2; q++)
        quads[q] = _mm_shuffle_epi8(_mm_packs_epi16(_mm_packs_epi32(v[4 * q], v[4 * q + 1]),
                                                    _mm_packs_epi32(v[4 * q + 2], v[4 * q + 3])), turn);
      FN(put_quads)(panel, first + p, j, quads[0], quads[1]);
    }
  }
}

// The same from words [n][32], times factor / 2^15.
INLINE void FN(pack_words)(size_t first, size_t n, const int16_t *words, const int16_t *factors, void *panel) {
  const __m128i low = _mm_set1_epi16(0xff);
  for (size_t j = 0; j < EL_PANEL; j += 8) {
    __m128i factor = _mm_loadu_si128((const __m128i *)(factors + j));
    for (size_t p = 0; p < n; p += 8) {
      __m128i v[8], pairs[4];
      for (size_t q = 0; q < 8; q++)
        v[q] = _mm_mulhrs_epi16(_mm_loadu_si128((const __m128i *)(words + (p + q) * EL_PANEL + j)), factor);
      for (size_t q = 0; q < 4; q++)
        pairs[q] = _mm_or_si128(_mm_and_si128(v[2 * q], low), _mm_slli_epi16(v[2 * q + 1], 8));
      FN(put_quads)(panel, first + p, j, _mm_unpacklo_epi16(pairs[0], pairs[1]), _mm_unpacklo_epi16(pairs[2], pairs[3]));
      FN(put_quads)(panel, first + p, j + 4, _mm_unpackhi_epi16(pairs[0], pairs[1]),
                    _mm_unpackhi_epi16(pairs[2], pairs[3]));
    }
  }
}

INLINE int32_t FN(panel_code)(const void *panel, size_t p, size_t j) {
  return ((const int16_t *)panel)[(p / 4 * EL_PANEL + j) * 4 + p % 4];
}

#define UNIT 4
#define TILED(name) FN(name##_of_words)
#define STARTS(x, i) NULL
#define START(starts, i) _mm_setzero_si128()
#define FINISH(s) _mm_cvtepi32_ps(s)
#define STEP(s0, s1, w0, w1, x)                               \
  do {                                                        \
    __m128i p0 = x, p1 = p0;                                  \
    p0 = _mm_madd_epi16(p0, w0);                              \
    p1 = _mm_madd_epi16(p1, w1);                              \
    s0 = _mm_add_epi32(s0, p0);                               \
    s1 = _mm_add_epi32(s1, p1);                               \
    __asm__ volatile("" : "+x"(s0), "+x"(s1));                \
  } while (0)
#include "tile128.inc"
#undef UNIT
#undef TILED
#undef STARTS
#undef START
#undef FINISH
#undef STEP

#define UNIT 8
#define TILED(name) FN(name##_of_bytes)
#define STARTS(x, i) (FN(starts)(x) + (i))
#define START(starts, i) _mm_shuffle_epi32(_mm_cvtsi32_si128((starts)[i]), 0x44)
#define FINISH(s) _mm_sub_ps(_mm_castsi128_ps(s), _mm_set1_ps(12582912.0f))
#define STEP(s0, s1, w0, w1, x)                                                \
  do {                                                                         \
    const __m128i ones = _mm_set1_epi16(1);                                    \
    __m128i p0 = _mm_madd_epi16(_mm_maddubs_epi16(w0, x), ones);               \
    __m128i p1 = _mm_madd_epi16(_mm_maddubs_epi16(w1, x), ones);               \
    s0 = _mm_add_epi32(s0, p0);                                                \
    s1 = _mm_add_epi32(s1, p1);                                                \
    __asm__ volatile("" : "+x"(s0), "+x"(s1));                                 \
  } while (0)
#include "tile128.inc"

static void FN(gemm)(const el_rows *x, size_t row, size_t m, size_t first, size_t k, const el_panel *panel, float *y,
                     size_t ldy, size_t columns, int accumulate) {
  if (x->limit == EL_GRADIENT_LIMIT) FN(gemm_of_bytes)(x, row, m, first, k, panel, y, ldy, columns, accumulate);
  else FN(gemm_of_words)(x, row, m, first, k, panel, y, ldy, columns, accumulate);
}

#include "table.inc"
#pragma clang attribute pop
#endif
