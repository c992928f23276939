// Which sampling session serves a capture: several of cpu, by rate and processes; one of each other
// type.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <utility>

#include "daemon/pipeline.h"

namespace hotpath {

Result<void> Pipeline::StartSampling() {
  std::lock_guard lock(mutex_);
  if (settings_.always_on_hz <= 0) return {};
  if (Result<void> started = sampler_->Start(0, settings_.always_on_hz, {}, false); !started) {
    return started;
  }
  sessions_[0] = {.users = 1, .hz = settings_.always_on_hz};
  if (Result<SessionRef> growth = AcquireSource(TypeId::kMemoryGrowth); !growth) {
    spdlog::warn("no profiles of memory growth: {}", growth.error().message);
  }
  return {};
}

Result<Pipeline::SessionRef> Pipeline::AcquireSession(const CaptureRequest& request, TypeId type) {
  return type == TypeId::kCpu ? AcquireCpuSession(request) : AcquireSource(type);
}

Result<Pipeline::SessionRef> Pipeline::AcquireSource(TypeId type) {
  Source& source = sources_.at(static_cast<size_t>(type));
  if (!source.sampling) return Fail(ErrorCode::kUnsupported, "this type is not sampled here");
  if (Result<void> started = source.sampling->Start(); !started) {
    return std::unexpected(started.error());
  }
  source.users++;
  return SessionRef{.type = type, .number = source.session};
}

Result<Pipeline::SessionRef> Pipeline::AcquireCpuSession(const CaptureRequest& request) {
  const bool restricted = !request.filter.pids.empty();
  uint32_t unused = 0;
  for (uint32_t i = 0; i < sessions_.size(); i++) {
    Session& session = sessions_.at(i);
    if (session.users > 0 && !restricted && !session.restricted && session.hz == request.hz) {
      session.users++;
      return SessionRef{.type = TypeId::kCpu, .number = i};
    }
    if (session.users == 0 && i > 0 && unused == 0) unused = i;
  }
  if (unused == 0) {
    return Fail(ErrorCode::kBusy,
                fmt::format("profiler busy: {} captures at other rates or of single processes are "
                            "under way; try again when one has ended",
                            sessions_.size() - 1));
  }
  if (Result<void> started =
          sampler_->Start(unused, request.hz, request.filter.pids, request.filter.descendants);
      !started) {
    return std::unexpected(started.error());
  }
  sessions_.at(unused) = {.users = 1, .hz = request.hz, .restricted = restricted};
  return SessionRef{.type = TypeId::kCpu, .number = unused};
}

void Pipeline::ReleaseSession(SessionRef session) {
  if (session.type != TypeId::kCpu) {
    Source& source = sources_.at(static_cast<size_t>(session.type));
    if (--source.users == 0) source.sampling->Stop();
    return;
  }
  if (--sessions_.at(session.number).users > 0) return;
  sampler_->Stop(session.number);
  ended_ += sampler_->Counters(session.number);
}

SessionCounters Pipeline::Counters(SessionRef session) const {
  if (session.type == TypeId::kCpu) return sampler_->Counters(session.number);
  return sources_.at(static_cast<size_t>(session.type)).sampling->Counters();
}

SessionCounters Pipeline::TotalCounters(TypeId type) const {
  if (type != TypeId::kCpu) {
    const Source& source = sources_.at(static_cast<size_t>(type));
    SessionCounters sum = source.ended;
    if (source.sampling) sum += source.sampling->Counters();
    return sum;
  }
  SessionCounters sum = ended_;
  for (uint32_t i = 0; i < sessions_.size(); i++) {
    if (sessions_.at(i).users > 0) sum += sampler_->Counters(i);
  }
  return sum;
}

}  // namespace hotpath
