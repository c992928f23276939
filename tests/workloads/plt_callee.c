// The shared library of plt_heavy: functions so small that the PLT stub costs as much as they do.
unsigned long plt_callee_a(unsigned long x) { return x + 1; }
unsigned long plt_callee_b(unsigned long x) { return x + 2; }
unsigned long plt_callee_c(unsigned long x) { return x + 3; }
unsigned long plt_callee_d(unsigned long x) { return x + 4; }
