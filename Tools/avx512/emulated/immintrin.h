// The compiler's vector functions, those of AVX-512 emulated by SIMDe with AVX2 and FMA.
#ifndef EDGELORA_EMULATED_IMMINTRIN_H
#define EDGELORA_EMULATED_IMMINTRIN_H
#include_next <immintrin.h>
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

// What SIMDe lacks: NAME of an array of 16 elements, each computed by VALUE from that of the argument.
#define EACH_ELEMENT(...) EACH_ELEMENT_OF(__VA_ARGS__)
#define EACH_ELEMENT_OF(NAME, RESULT, LOAD, TO, ARGUMENT, STORE, FROM, VALUE)             \
  static inline RESULT emulated_##NAME(ARGUMENT x) {                                   \
    FROM v[16];                                                                        \
    TO result[16];                                                                     \
    STORE((void *)v, x);                                                               \
    for (int i = 0; i < 16; i++) result[i] = VALUE;                                    \
    return LOAD(result);                                                               \
  }
#define FLOATS simde__m512, simde_mm512_loadu_ps, float
#define INTEGERS simde__m512i, simde_mm512_loadu_si512, int32_t
EACH_ELEMENT(cvtps_epi32, INTEGERS, simde__m512, simde_mm512_storeu_ps, float, _mm_cvtss_si32(_mm_set_ss(v[i])))
EACH_ELEMENT(cvtepi32_ps, FLOATS, simde__m512i, simde_mm512_storeu_si512, int32_t, (float)v[i])
EACH_ELEMENT(cvtepi8_epi32, INTEGERS, __m128i, _mm_storeu_si128, int8_t, v[i])
EACH_ELEMENT(cvtepu8_epi32, INTEGERS, __m128i, _mm_storeu_si128, uint8_t, v[i])
EACH_ELEMENT(cvtepu16_epi32, INTEGERS, __m256i, _mm256_storeu_si256, uint16_t, v[i])
EACH_ELEMENT(cvtph_ps, FLOATS, __m256i, _mm256_storeu_si256, uint16_t, _cvtsh_ss(v[i]))
#define _mm512_cvtps_epi32 emulated_cvtps_epi32
#define _mm512_cvtepi32_ps emulated_cvtepi32_ps
#define _mm512_cvtepi8_epi32 emulated_cvtepi8_epi32
#define _mm512_cvtepu8_epi32 emulated_cvtepu8_epi32
#define _mm512_cvtepu16_epi32 emulated_cvtepu16_epi32
#define _mm512_cvtph_ps emulated_cvtph_ps

static inline int32_t emulated_reduce_add_epi32(simde__m512i x) {
  int32_t v[16], sum = 0;
  simde_mm512_storeu_si512(v, x);
  for (int i = 0; i < 16; i++) sum += v[i];
  return sum;
}
#undef _mm512_reduce_add_epi32
#define _mm512_reduce_add_epi32 emulated_reduce_add_epi32

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

// in place of the instruction that the kernel names
#define ADD_SCALED(f, t, scale) ((f) = _mm512_fmadd_ps(t, scale, f))
#endif
