// Integer kernels for AVX-512 VNNI.
#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "../include/int8_kernels.h"

#define FN(name) name##_avx512vnni
#define KERNEL_NAME "avx512vnni"

#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c"))), \
                             apply_to = function)
#define ADD_PRODUCTS(s, x, w) _mm256_dpbusd_epi32(s, x, w)
#define DOT_UNSIGNED
#define WIDE_DOTS
#define WIDE_QUANTIZE_BLOCK
#define PACK_ROWS
#define PACK_COLUMNS
#include "x86.inc"

#include "avx512_rows.inc"

INLINE float FN(quantize_block)(size_t n, const float *x, float limit, int8_t *codes) {
  float inverse, scale;
  if (n == 64) {
    __m512 v[1][4];
    __m512i bytes[1];
    for (int i = 0; i < 4; i++) v[0][i] = _mm512_loadu_ps(x + 16 * i);
    scale = _mm_cvtss_f32(FN(codes_of_blocks)(1, v, limit, 0, 0, bytes));
    _mm512_storeu_si512(codes, bytes[0]);
    return scale;
  }
  scale = FN(scale_for)(FN(absmax)(n, x), limit, &inverse);
  for (size_t i = 0; i < n; i++) codes[i] = (int8_t)FN(nearest)(x[i] * inverse);
  return scale;
}

#include "vnni.inc"

#define QUANTIZE_WIDE
// Codes go from registers to their place: read back from a buffer they would wait for all stores before.
INLINE void FN(quantize_blocks)(int count, const el_rows *x, size_t row, size_t first, const float *values,
                                const float *mean, const uint32_t *keep, int dithers, uint32_t dither) {
  size_t at = row * x->columns + first;
  int8_t *codes = (int8_t *)x->codes + at;
  float *scales = x->scales + at / 64;
  int32_t *starts = FN(starts)(x) + at / 64;
  __mmask16 used = (__mmask16)((1 << count) - 1);
  __m512 v[4][4];
  __m512i bytes[4], sums[4];
  for (int b = 0; b < count; b++)
    for (int i = 0; i < 4; i++) {
      size_t place = (size_t)(64 * b + 16 * i);
      v[b][i] = _mm512_loadu_ps(values + place);
      if (mean)
        v[b][i] = _mm512_and_ps(_mm512_sub_ps(v[b][i], _mm512_loadu_ps(mean + place)), _mm512_loadu_ps(keep + place));
    }
  __m128 scale = FN(codes_of_blocks)(count, v, (float)x->limit, dithers, dither, bytes);
  _mm512_mask_storeu_ps(scales, used, _mm512_castps128_ps512(scale));
  for (int b = 0; b < 4; b++) {
    sums[b] = b < count ? _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(1), bytes[b]) : sums[0];
    if (b < count) _mm512_storeu_si512(codes + 64 * b, bytes[b]);
  }
  __m128i start = _mm_sub_epi32(_mm_set1_epi32(MAGIC_BITS), _mm_slli_epi32(FN(added4)(sums), 7));
  _mm512_mask_storeu_ps((float *)starts, used, _mm512_castsi512_ps(_mm512_castsi128_si512(start)));
}

// `count` blocks of a row from element `start`, of 64 values each. Up to four share what leads to a scale: alone, each would
// wait.
INLINE void FN(quantize_wide)(const el_rows *x, size_t row, size_t start, size_t count, const float *values,
                              const float *mean, const uint32_t *keep, int dithers, uint32_t dither) {
  for (size_t done = 0, n, parts = (count + 3) / 4; parts > 0; parts--, done += n) {
    size_t i = done * 64, first = start + i;
    uint32_t seed = dither + (uint32_t)first * 0x9e3779b9u;
    n = (count - done + parts - 1) / parts;
#define BLOCKS(N) \
  FN(quantize_blocks)(N, x, row, first, values + i, mean ? mean + i : mean, keep ? keep + i : keep, dithers, seed)
    switch (n) {
      case 4: BLOCKS(4); break;
      case 3: BLOCKS(3); break;
      case 2: BLOCKS(2); break;
      default: BLOCKS(1);
    }
#undef BLOCKS
  }
}

#include "avx512_panels.inc"

// Elements of the reduction that all rows pass over before the next: 32 KiB of a panel.
#define CHUNK 1024

#ifndef ADD_SCALED
// f += t * scale. Left to itself, the compiler copies every sum once per block.
#define ADD_SCALED(f, t, scale) __asm__("vfmadd231ps %2, %1, %0" : "+v"(f) : "v"(t), "v"(scale))
#endif

// s += the products of a term's values with its weights
#define TERM_PRODUCTS(ROWS, s)                                                            \
  for (size_t c = 0; c < t->count; c++, v += t->ldw) {                                    \
    __m512 v0 = _mm512_maskz_loadu_ps(low, v), v1 = _mm512_maskz_loadu_ps(high, v + 16);  \
    for (size_t i = 0; i < ROWS; i++) {                                                   \
      __m512 value = _mm512_set1_ps(values[i * t->ldx + c]);                              \
      s[i][0] = _mm512_fmadd_ps(value, v0, s[i][0]);                                      \
      s[i][1] = _mm512_fmadd_ps(value, v1, s[i][1]);                                      \
    }                                                                                     \
  }

// Asks for 32 floats that are written soon, or read and written: stores would wait for one line after the other.
INLINE void FN(claim)(const float *y) {
  __builtin_prefetch(y, 1);
  __builtin_prefetch(y + 16, 1);
}

// ROWS x 32: 2 * ROWS integer and as many float sums; 6 rows leave registers for two weights and the rows' groups.
#define TILE(ROWS)                                                                                                   \
  static __attribute__((noinline)) void FN(tile##ROWS)(const el_rows *x, size_t row, size_t first, size_t k,         \
                                                       const el_panel *panel, size_t start, float *y, size_t ldy,    \
                                                       __mmask16 low, __mmask16 high, int accumulate,                \
                                                       const el_term *terms, size_t term_count, size_t term_row) {   \
    size_t groups = x->block / 4, ldx = x->columns, blocks = FN(quotient)(x->columns, x->block);                     \
    const char *p = (const char *)x->codes + row * ldx + first, *q = p + 3 * ldx;                                    \
    const char *w = (const char *)panel->codes + start * EL_PANEL;                                                   \
    const float *sw = panel->scales + FN(quotient)(start, x->block) * EL_PANEL;                                      \
    const float *sx = x->scales + row * blocks + FN(quotient)(first, x->block);                                      \
    const int32_t *starts = FN(starts)(x) + row * blocks + FN(quotient)(first, x->block);                            \
    const float *ahead = accumulate ? y + ROWS * ldy : y;                                                            \
    for (size_t i = 0; i < ROWS; i++) FN(claim)(ahead + i * ldy);                                                    \
    __m512 f[ROWS][2];                                                                                               \
    for (size_t i = 0; i < ROWS; i++) {                                                                              \
      f[i][0] = accumulate ? _mm512_maskz_loadu_ps(low, y + i * ldy) : _mm512_setzero_ps();                          \
      f[i][1] = accumulate ? _mm512_maskz_loadu_ps(high, y + i * ldy + 16) : _mm512_setzero_ps();                    \
    }                                                                                                                \
    for (const el_term *t = terms; t < terms + term_count; t++) {                                                    \
      const float *values = t->x + term_row * t->ldx, *v = t->w;                                                     \
      if (t == terms && !accumulate && t->scale == 1) {                                                              \
        TERM_PRODUCTS(ROWS, f)                                                                                       \
        continue;                                                                                                    \
      }                                                                                                              \
      __m512 s[ROWS][2], scale = _mm512_set1_ps(t->scale);                                                           \
      for (size_t i = 0; i < ROWS; i++) s[i][0] = s[i][1] = _mm512_setzero_ps();                                     \
      TERM_PRODUCTS(ROWS, s)                                                                                         \
      int begun = accumulate || t > terms;                                                                           \
      for (size_t i = 0; i < ROWS; i++)                                                                              \
        for (size_t h = 0; h < 2; h++)                                                                               \
          f[i][h] = begun ? _mm512_fmadd_ps(s[i][h], scale, f[i][h]) : _mm512_mul_ps(s[i][h], scale);                \
    }                                                                                                                \
    for (const float *end = sw + FN(quotient)(k, x->block) * EL_PANEL; sw < end; sw += EL_PANEL, sx++, starts++) {   \
      __m512i s[ROWS][2];                                                                                            \
      for (size_t i = 0; i < ROWS; i++) s[i][0] = s[i][1] = _mm512_set1_epi32(starts[i * blocks]);                   \
      for (size_t g = 0; g < groups; g += 2, w += EL_PANEL * 8, p += 8, q += 8) {                                    \
        for (size_t h = 0; h < 2; h++) {                                                                             \
          __m512i w0 = _mm512_loadu_si512(w + h * 128), w1 = _mm512_loadu_si512(w + h * 128 + 64);                   \
          for (size_t i = 0; i < ROWS; i++) {                                                                        \
            int32_t four;                                                                                            \
            memcpy(&four, (i < 3 ? p + i * ldx : q + (i - 3) * ldx) + h * 4, 4);                                     \
            __m512i v = _mm512_set1_epi32(four);                                                                     \
            s[i][0] = _mm512_dpbusd_epi32(s[i][0], w0, v);                                                           \
            s[i][1] = _mm512_dpbusd_epi32(s[i][1], w1, v);                                                           \
          }                                                                                                          \
        }                                                                                                            \
      }                                                                                                              \
      __m512 sw0 = _mm512_loadu_ps(sw), sw1 = _mm512_loadu_ps(sw + 16), minus = _mm512_set1_ps(-MAGIC);              \
      __m512 away0 = _mm512_mul_ps(sw0, minus), away1 = _mm512_mul_ps(sw1, minus);                                   \
      for (size_t i = 0; i < ROWS; i++) {                                                                            \
        __m512 scale = _mm512_set1_ps(sx[i * blocks]);                                                               \
        __m512 t0 = _mm512_fmadd_ps(_mm512_castsi512_ps(s[i][0]), sw0, away0);                                       \
        __m512 t1 = _mm512_fmadd_ps(_mm512_castsi512_ps(s[i][1]), sw1, away1);                                       \
        ADD_SCALED(f[i][0], t0, scale);                                                                              \
        ADD_SCALED(f[i][1], t1, scale);                                                                              \
      }                                                                                                              \
    }                                                                                                                \
    for (size_t i = 0; i < ROWS; i++) {                                                                              \
      _mm512_mask_storeu_ps(y + i * ldy, low, f[i][0]);                                                              \
      _mm512_mask_storeu_ps(y + i * ldy + 16, high, f[i][1]);                                                        \
    }                                                                                                                \
  }

TILE(1)
TILE(2)
TILE(4)
TILE(6)

// Rows of the next tile: tiles of 4 keep the processor as busy as those of 6, smaller ones do not.
INLINE size_t FN(tile_rows)(size_t left) {
  if (left >= 6 && left != 7 && left != 8) return 6;
  return left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

#define GEMM_ADDING FN(gemm_adding)
static void FN(gemm_adding)(const el_rows *x, size_t row, size_t m, size_t first, size_t k, const el_panel *panel,
                            float *y, size_t ldy, size_t columns, int accumulate, const el_term *terms,
                            size_t term_count) {
  __mmask16 low = (__mmask16)(columns >= 16 ? 0xffff : (1u << columns) - 1);
  __mmask16 high = (__mmask16)(columns >= 32 ? 0xffff : columns > 16 ? (1u << (columns - 16)) - 1 : 0);
#define ROWS_OF_TILE(ROWS) \
  FN(tile##ROWS)(x, row + i, first + start, count, panel, start, out, ldy, low, high, add, terms, term_count, i)
  for (size_t start = 0; start < k; start += CHUNK) {
    size_t count = k - start < CHUNK ? k - start : CHUNK;
    int add = accumulate || start > 0;
    if (start > 0) term_count = 0;
    for (size_t i = 0, rows; i < m; i += rows) {
      float *out = y + i * ldy;
      rows = FN(tile_rows)(m - i);
      switch (rows) {
        case 6: ROWS_OF_TILE(6); break;
        case 4: ROWS_OF_TILE(4); break;
        case 2: ROWS_OF_TILE(2); break;
        default: ROWS_OF_TILE(1);
      }
    }
  }
#undef ROWS_OF_TILE
}

static void FN(gemm)(const el_rows *x, size_t row, size_t m, size_t first, size_t k, const el_panel *panel, float *y,
                     size_t ldy, size_t columns, int accumulate) {
  FN(gemm_adding)(x, row, m, first, k, panel, y, ldy, columns, accumulate, NULL, 0);
}

#include "table.inc"
#pragma clang attribute pop
#endif
