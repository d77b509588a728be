// The loop of limit_loops.h for registers of one type; its own copy in every file that includes it.
// Only for real registers: not part of the emulated build.
#pragma once

namespace tutti::kernels {
namespace {

// Twelve independent chains cover the latency of a multiply-add (4 to 6 cycles, two a cycle).
// `step(x)` does one on x; `lanes` multiply-adds are in it.
template <typename Register, typename Step>
double run_limit_loop(long rounds, Register start, int lanes, Step step) {
  constexpr int kChains = 12;
  Register chains[kChains];
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) chains[i] = start;
  for (long round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) {
      Register next = step(chains[i]);
      asm volatile("" : "+v"(next));
      chains[i] = next;
    }
  }
  return 2.0 * kChains * lanes * static_cast<double>(rounds);
}

}  // namespace
}  // namespace tutti::kernels
