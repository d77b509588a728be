// The AVX-512 intrinsics: the compiler's own, or SIMDe's functions of the same names in the test
// build that runs on any x86-64 machine (TUTTI_EMULATED).
#pragma once

#if defined(TUTTI_EMULATED)
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>
#include <simde/x86/fma.h>
#else
#include <immintrin.h>
#endif
