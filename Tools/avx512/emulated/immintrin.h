// The compiler's vector functions, those of AVX-512 emulated by SIMDe with AVX2 and FMA.
#ifndef EDGELORA_EMULATED_IMMINTRIN_H
#define EDGELORA_EMULATED_IMMINTRIN_H
#include_next <immintrin.h>
#include <simde/x86/avx512.h>

#define __m512 simde__m512
#define __m512i simde__m512i
#define __mmask16 simde__mmask16
#define _mm512_castsi512_ps simde_mm512_castsi512_ps
#define _mm512_dpbusd_epi32 simde_mm512_dpbusd_epi32
#define _mm512_fmadd_ps simde_mm512_fmadd_ps
#define _mm512_loadu_ps simde_mm512_loadu_ps
#define _mm512_loadu_si512 simde_mm512_loadu_si512
#define _mm512_mul_ps simde_mm512_mul_ps
#define _mm512_set1_epi32 simde_mm512_set1_epi32
#define _mm512_set1_ps simde_mm512_set1_ps
#define _mm512_setzero_ps simde_mm512_setzero_ps
#undef _mm256_dpbusd_epi32
#define _mm256_dpbusd_epi32 simde_mm256_dpbusd_epi32

static inline simde__m512 emulated_maskz_loadu_ps(simde__mmask16 mask, const float *p) {
  float v[16] = {0};
  for (int i = 0; i < 16; i++)
    if (mask >> i & 1) v[i] = p[i];
  return simde_mm512_loadu_ps(v);
}
#define _mm512_maskz_loadu_ps emulated_maskz_loadu_ps

static inline void emulated_mask_storeu_ps(float *p, simde__mmask16 mask, simde__m512 x) {
  float v[16];
  simde_mm512_storeu_ps(v, x);
  for (int i = 0; i < 16; i++)
    if (mask >> i & 1) p[i] = v[i];
}
#define _mm512_mask_storeu_ps emulated_mask_storeu_ps

#define _mm512_setzero_si512 simde_mm512_setzero_si512
#define _mm512_and_si512 simde_mm512_and_si512
#define _mm512_max_epi32 simde_mm512_max_epi32
#define _mm512_castsi512_si256 simde_mm512_castsi512_si256
#define _mm512_extracti64x4_epi64 simde_mm512_extracti64x4_epi64
#define _mm512_cvtsepi32_epi8 simde_mm512_cvtsepi32_epi8
static inline simde__m512i emulated_cvtps_epi32(simde__m512 x) {
  float v[16];
  int32_t rounded[16];
  simde_mm512_storeu_ps(v, x);
  for (int i = 0; i < 16; i += 8) _mm256_storeu_si256((__m256i *)(rounded + i), _mm256_cvtps_epi32(_mm256_loadu_ps(v + i)));
  return simde_mm512_loadu_si512(rounded);
}
#define _mm512_cvtps_epi32 emulated_cvtps_epi32

// in place of the instruction that the kernel names
#define ADD_SCALED(f, t, scale) ((f) = _mm512_fmadd_ps(t, scale, f))
#endif
