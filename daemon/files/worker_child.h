// The child's side of the file worker: reads foreign ELF and DWARF inside the sandbox.
#pragma once

namespace hotpath {

// Enters the sandbox and serves requests on descriptor kWorkerSocket until the parent closes it or
// 30 s pass without one. Exit status: 0 after a conversation, 1 without a sandbox, 2 when there is
// no parent to talk to.
[[noreturn]] void RunWorkerChild();

}  // namespace hotpath
