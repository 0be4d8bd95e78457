// Integer kernels for AVX-512 VNNI.
#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "include/int8_kernels.h"

#define FN(name) name##_avx512vnni
#define KERNEL_NAME "avx512vnni"

#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c"))), \
                             apply_to = function)
#define ADD_PRODUCTS(s, x, w) _mm256_dpbusd_epi32(s, x, w)
#include "int8_x86.inc"
#include "int8_vnni.inc"

// Elements of the reduction that all rows pass over before the next: 32 KiB of a panel.
#define CHUNK 1024

// Addresses of one tile; strides are in elements.
typedef struct {
  size_t blocks, groups;  // of the chunk; of four, in a block
  const int8_t *x;
  size_t ldx;
  const uint8_t *w;
  const float *sw, *sx;  // sx and starts: [rows][ldsx]
  const int32_t *starts;
  size_t ldsx;
  float *y;
  size_t ldy;
  __mmask16 low, high;  // columns that exist
  int accumulate;
} operands;

// ROWS x 32: 2 * ROWS integer and as many float sums; 6 rows leave registers for two weights and the rows' groups. The
// float work at the end of a block, two operations for each sum, goes to the port that does not multiply bytes.
INLINE void FN(tile)(const size_t rows, const operands *o) {
  const int8_t *x = o->x;
  const uint8_t *w = o->w;
  const float *sw = o->sw, *sx = o->sx;
  const int32_t *starts = o->starts;
  float *y = o->y;
  size_t ldx = o->ldx, ldsx = o->ldsx, ldy = o->ldy;
  // multiples of the stride that an address can add; hidden from the compiler, which would add them up in the loop
  size_t ldx3 = 3 * ldx, ldx5 = 5 * ldx;
  __asm__("" : "+r"(ldx3), "+r"(ldx5));
  const size_t offsets[6] = {0, ldx, 2 * ldx, ldx3, 4 * ldx, ldx5};
  __m512 f[6][2];
#pragma clang loop unroll(full)
  for (size_t i = 0; i < rows; i++) {
    f[i][0] = o->accumulate ? _mm512_maskz_loadu_ps(o->low, y + i * ldy) : _mm512_setzero_ps();
    f[i][1] = o->accumulate ? _mm512_maskz_loadu_ps(o->high, y + i * ldy + 16) : _mm512_setzero_ps();
  }
  for (size_t b = 0; b < o->blocks; b++, sw += EL_PANEL) {
    __m512i s[6][2];
#pragma clang loop unroll(full)
    for (size_t i = 0; i < rows; i++) s[i][0] = s[i][1] = _mm512_set1_epi32(starts[i * ldsx + b]);
#pragma clang loop unroll(disable)
    for (size_t left = o->groups; left > 0; left -= 2, w += 256, x += 8)
#pragma clang loop unroll(full)
      for (size_t g = 0; g < 2; g++) {
        __m512i w0 = _mm512_loadu_si512(w + 128 * g), w1 = _mm512_loadu_si512(w + 128 * g + 64);
#pragma clang loop unroll(full)
        for (size_t i = 0; i < rows; i++) {
          int32_t four;
          memcpy(&four, x + 4 * g + offsets[i], 4);
          __m512i v = _mm512_set1_epi32(four);
          s[i][0] = _mm512_dpbusd_epi32(s[i][0], w0, v);
          s[i][1] = _mm512_dpbusd_epi32(s[i][1], w1, v);
        }
      }
    __m512 sw0 = _mm512_loadu_ps(sw), sw1 = _mm512_loadu_ps(sw + 16), magic = _mm512_set1_ps(-SUM_MAGIC);
    __m512 n0 = _mm512_mul_ps(sw0, magic), n1 = _mm512_mul_ps(sw1, magic);
#pragma clang loop unroll(full)
    for (size_t i = 0; i < rows; i++) {
      __m512 scale = _mm512_set1_ps(sx[i * ldsx + b]);
      f[i][0] = _mm512_fmadd_ps(_mm512_fmadd_ps(_mm512_castsi512_ps(s[i][0]), sw0, n0), scale, f[i][0]);
      f[i][1] = _mm512_fmadd_ps(_mm512_fmadd_ps(_mm512_castsi512_ps(s[i][1]), sw1, n1), scale, f[i][1]);
    }
  }
#pragma clang loop unroll(full)
  for (size_t i = 0; i < rows; i++) {
    _mm512_mask_storeu_ps(y + i * ldy, o->low, f[i][0]);
    _mm512_mask_storeu_ps(y + i * ldy + 16, o->high, f[i][1]);
  }
}

static __attribute__((noinline)) void FN(tile1)(const operands *o) { FN(tile)(1, o); }
static __attribute__((noinline)) void FN(tile2)(const operands *o) { FN(tile)(2, o); }
static __attribute__((noinline)) void FN(tile4)(const operands *o) { FN(tile)(4, o); }
static __attribute__((noinline)) void FN(tile6)(const operands *o) { FN(tile)(6, o); }

static void FN(gemm)(const el_rows *x, size_t row, size_t m, size_t first, size_t k, const el_panel *panel, float *y,
                     size_t ldy, size_t columns, int accumulate) {
  size_t blocks = x->columns / x->block, start_block = first / x->block;
  operands o = {.groups = x->block / 4, .ldx = x->columns, .ldsx = blocks, .ldy = ldy};
  o.low = (__mmask16)(columns >= 16 ? 0xffff : (1u << columns) - 1);
  o.high = (__mmask16)(columns >= 32 ? 0xffff : columns > 16 ? (1u << (columns - 16)) - 1 : 0);
  for (size_t start = 0; start < k; start += CHUNK) {
    size_t count = k - start < CHUNK ? k - start : CHUNK, block = start / x->block;
    o.blocks = count / x->block;
    o.w = (const uint8_t *)panel->codes + start * EL_PANEL;
    o.sw = panel->scales + block * EL_PANEL;
    o.accumulate = accumulate || start > 0;
    for (size_t i = 0; i < m;) {
      size_t rows = m - i >= 6 ? 6 : m - i >= 4 ? 4 : m - i >= 2 ? 2 : 1;
      o.x = (const int8_t *)x->codes + (row + i) * o.ldx + first + start;
      o.sx = x->scales + (row + i) * blocks + start_block + block;
      o.starts = FN(starts)(x) + (row + i) * blocks + start_block + block;
      o.y = y + i * ldy;
      switch (rows) {
        case 6: FN(tile6)(&o); break;
        case 4: FN(tile4)(&o); break;
        case 2: FN(tile2)(&o); break;
        default: FN(tile1)(&o);
      }
      i += rows;
    }
  }
}

#include "int8_table.inc"
#pragma clang attribute pop
#endif
