// Fuzzes placement: any code gives sites that their bytes bear out, and any answer of a child gives
// a placement that holds, or an error. The first byte chooses.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

#include "daemon/files/place_probes.h"
#include "daemon/files/placement_codec.h"
#include "daemon/placement/place_functions.h"

namespace {

using namespace hotpath;

constexpr uint64_t kAddress = 0x401000;

std::span<const uint8_t> Bytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// What the decoder claims must pass the parent's checks, with every site inside the code.
void PlaceInCode(std::span<const uint8_t> code) {
  std::vector<CodeSegment> segments;
  segments.push_back({kAddress, 0x1000, {code.begin(), code.end()}});
  const uint64_t half = code.size() / 2;
  const std::vector<CodeExtent> extents = {{kAddress, kAddress + half + 1}};
  const ProgramCode program(std::move(segments), extents, {{kAddress + half, "malloc"}});
  const std::vector<ProbedFunction> placed =
      PlaceFunctions(program, {{"free", kAddress, code.size()},
                               {"calloc", kAddress + 1, 0},
                               {"realloc", kAddress + half, UINT64_MAX},
                               {"malloc", kAddress + half, half},
                               {"valloc", kAddress + code.size(), 8}});
  const auto read = DecodePlacement(Bytes(EncodePlacement({"", "", placed})));
  if (!read || read->functions.size() != placed.size()) abort();
  for (const ProbedFunction& function : placed) {
    if (function.site.probe_class == ProbeClass::kRefused) {
      if (function.site.why.empty()) abort();
      continue;
    }
    if (function.site.arguments.empty() || function.site.instruction.empty()) abort();
    const uint64_t end = function.address + function.code.size();
    if (end > kAddress + code.size()) abort();
  }
}

void ReadAnswer(std::span<const uint8_t> bytes) {
  const auto placement = DecodePlacement(bytes);
  if (!placement) {
    if (placement.error().message.empty()) abort();
    return;
  }
  if (!DecodePlacement(Bytes(EncodePlacement(*placement)))) abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const std::span<const uint8_t> rest(data + 1, size - 1);
  switch (data[0] % 3) {
    case 0:
      PlaceInCode(rest.first(std::min<size_t>(rest.size(), 4096)));
      break;
    case 1:
      ReadAnswer(rest);
      break;
    default:
      if (auto elf = ElfFile::FromMemory({rest.begin(), rest.end()})) (void)PlaceProbes(*elf);
  }
  return 0;
}
