// frames DEPTH: a hot loop under DEPTH frames of three functions without frame pointers, whose
// frames are as large as those of usual C++ code (56 to 104 bytes). Prints "ready", runs until
// killed. DEPTH counts all: main, what libc calls it from, and the leaf.
#include <cstdio>
#include <cstdlib>

namespace {

constexpr int kOutside = 5;  // _start, __libc_start_main, __libc_start_call_main, main, Leaf.
volatile unsigned long sink;

[[gnu::noipa]] void Leaf() {
  unsigned long x = 3;
  for (int i = 0; i < 100'000; ++i) asm volatile("imul %0, %0" : "+r"(x));
  sink = x;
}

// An array that stays in the frame, and a call that stays a call.
#define FRAME(words) \
  long local[words]; \
  asm volatile("" ::"r"(local) : "memory")

void Small(int below);
void Middle(int below);
void Large(int below);

void Descend(int below) {
  if (below == 0) {
    for (;;) Leaf();
  }
  switch (below % 3) {
    case 0:
      return Small(below - 1);
    case 1:
      return Middle(below - 1);
    default:
      return Large(below - 1);
  }
}

// Descend is part of each of them.
[[gnu::noipa, gnu::flatten]] void Small(int below) {
  FRAME(4);
  Descend(below);
  asm volatile("" ::"r"(local) : "memory");
}

[[gnu::noipa, gnu::flatten]] void Middle(int below) {
  FRAME(7);
  Descend(below);
  asm volatile("" ::"r"(local) : "memory");
}

[[gnu::noipa, gnu::flatten]] void Large(int below) {
  FRAME(10);
  Descend(below);
  asm volatile("" ::"r"(local) : "memory");
}

}  // namespace

int main(int argc, char** argv) {
  const int depth = argc > 1 ? std::atoi(argv[1]) : 30;
  std::puts("ready");
  std::fflush(stdout);
  Descend(depth > kOutside ? depth - kOutside : 0);
}
