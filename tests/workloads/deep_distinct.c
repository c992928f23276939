// deep_distinct: 400 different functions on one stack: distinct_leaf <- distinct_bottom <-
// distinct_000 <- ... <- distinct_399 <- main, with frames of several sizes.
#include "workload.h"

// X(hundreds, tens, units) for 0 to 399.
#define TEN(X, h, t) \
  X(h, t, 0)         \
  X(h, t, 1) X(h, t, 2) X(h, t, 3) X(h, t, 4) X(h, t, 5) X(h, t, 6) X(h, t, 7) X(h, t, 8) X(h, t, 9)
#define HUNDRED(X, h) \
  TEN(X, h, 0)        \
  TEN(X, h, 1)        \
  TEN(X, h, 2)        \
  TEN(X, h, 3) TEN(X, h, 4) TEN(X, h, 5) TEN(X, h, 6) TEN(X, h, 7) TEN(X, h, 8) TEN(X, h, 9)
#define ALL(X) HUNDRED(X, 0) HUNDRED(X, 1) HUNDRED(X, 2) HUNDRED(X, 3)

TRUTH_FUNCTION void distinct_leaf(void) { SPIN(SPIN_100US); }

TRUTH_FUNCTION void distinct_bottom(void) {
  while (WORKLOAD_RUNNING()) distinct_leaf();
}

#define DECLARE(h, t, u) void distinct_##h##t##u(void);
ALL(DECLARE)

// callee[n] is what distinct_n calls: the one below it.
#define NAME(h, t, u) distinct_##h##t##u,
static void (*const callee[])(void) = {distinct_bottom, ALL(NAME)};

#define DEFINE(h, t, u)                          \
  TRUTH_FUNCTION void distinct_##h##t##u(void) { \
    char frame[16 * ((10 * (t) + (u)) % 7) + 8]; \
    KEEP(frame);                                 \
    callee[100 * (h) + 10 * (t) + (u)]();        \
    KEEP(frame);                                 \
  }
ALL(DEFINE)

int main(int argc, char** argv) {
  workload_begin(argc, argv);
  distinct_399();
  NO_TAIL_CALL();
  return 0;
}
