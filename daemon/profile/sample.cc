// The fixed words of walk ends and losses.
#include "daemon/profile/sample.h"

#include <array>

namespace hotpath {
namespace {

struct Words {
  std::string_view reason;
  std::string_view sentence;
};

constexpr std::array<Words, kWalkEnds> kWalkEndWords = {{
    {"", "Reached the thread's first frame."},
    {"", "A kernel thread or an exiting task: there is no user stack."},
    {"table pending", "The file's unwind table is not loaded yet."},
    {"no unwind rule", "No unwind rule covers the address, or it is one we cannot follow."},
    {"bad memory", "The stack could not be read."},
    {"frame limit", "More frames than the limit; the middle is cut."},
    {"bad return address", "The return address is in no executable mapping."},
}};

constexpr std::array<Words, kLosses> kLossWords = {{
    {"ring buffer full", "The ring buffer had no room."},
    {"throttled", "The kernel delivered no sampling interrupt in time."},
    {"map full", "A BPF map had no room."},
    {"too long", "The record was longer than its buffer."},
    {"busy", "Another program held this CPU's scratch memory."},
    {"memory limit",
     "The daemon was over its memory limit: no stack it did not know yet was kept."},
}};

constexpr uint32_t kFirstLoss = 64;

}  // namespace

std::string_view WalkEndReason(WalkEnd end) {
  return kWalkEndWords.at(static_cast<size_t>(end)).reason;
}
std::string_view WalkEndSentence(WalkEnd end) {
  return kWalkEndWords.at(static_cast<size_t>(end)).sentence;
}
std::string_view LossReason(Loss loss) { return kLossWords.at(static_cast<size_t>(loss)).reason; }
std::string_view LossSentence(Loss loss) {
  return kLossWords.at(static_cast<size_t>(loss)).sentence;
}

Frame TruncatedFrame(WalkEnd end) { return Frame::Synthetic(static_cast<uint32_t>(end)); }
Frame LostFrame(Loss loss) { return Frame::Synthetic(kFirstLoss + static_cast<uint32_t>(loss)); }

std::string SyntheticFrameName(Frame frame) {
  const auto number = static_cast<uint32_t>(frame.address());
  if (number >= kFirstLoss && number < kFirstLoss + kLosses) {
    return "[lost: " + std::string(kLossWords.at(number - kFirstLoss).reason) + "]";
  }
  if (number < kWalkEnds)
    return "[truncated: " + std::string(kWalkEndWords.at(number).reason) + "]";
  return "[hotpath]";
}

}  // namespace hotpath
