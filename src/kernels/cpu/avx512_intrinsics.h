// The AVX-512 intrinsics: the compiler's own, or functions of the same names in the test build that
// runs on any x86-64 machine with AVX2 (TUTTI_EMULATED).
#pragma once

#if defined(TUTTI_EMULATED)
#include "kernels/cpu/avx512_emulated.h"
#else
#include <immintrin.h>
#endif
