// Reads parameters, captures, and answers with the client's JSON.
#include "exporters/api/report_handlers.h"

#include <algorithm>
#include <charconv>
#include <future>

#include "exporters/api/json_response.h"
#include "exporters/report/diff.h"
#include "exporters/report/quality.h"
#include "exporters/report/top.h"

namespace hotpath::api {
namespace {

constexpr size_t kDefaultRows = 20;
constexpr std::string_view kBasePrefix = "base_";

HttpResponse ErrorResponse(const Error& error) {
  int status = 500;
  switch (error.code) {
    case ErrorCode::kInvalidArgument:
      status = 400;
      break;
    case ErrorCode::kNotFound:
      status = 404;
      break;
    case ErrorCode::kPermission:
      status = 403;
      break;
    case ErrorCode::kBusy:
    case ErrorCode::kUnavailable:
      status = 503;
      break;
    case ErrorCode::kTimeout:
      status = 504;
      break;
    case ErrorCode::kUnsupported:
    case ErrorCode::kMalformed:
    case ErrorCode::kTooLarge:
    case ErrorCode::kSystem:
      break;
  }
  return JsonResponse(status, report::Json{{"error", error.message}});
}

template <typename Number>
Result<Number> ParseNumber(const char* name, const std::string& text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc() && end == text.data() + text.size()) return number;
  return Fail(ErrorCode::kInvalidArgument,
              std::string("parameter ") + name + ": '" + text + "' is no number");
}

bool IsTrue(const std::optional<std::string>& value) {
  return value && *value != "0" && *value != "false";
}

std::vector<std::string> SplitCommas(const std::string& text) {
  std::vector<std::string> parts;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    if (end > at) parts.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return parts;
}

struct ReportRequest {
  report::ViewOptions view;
  bool by_cum = false;
  size_t rows = kDefaultRows;
};

Result<ReportRequest> ReadRequest(const HttpRequest& request) {
  ReportRequest read;
  read.view.sample_type = request.Query("sample_type").value_or("");
  read.view.focus = request.Query("focus").value_or("");
  read.view.ignore = request.Query("ignore").value_or("");
  read.view.hide = request.Query("hide").value_or("");
  read.view.show = request.Query("show").value_or("");
  read.view.tag_root = SplitCommas(request.Query("tagroot").value_or(""));
  for (const auto& [key, value] : request.query) {
    if (key == "tagfocus") read.view.tag_focus.push_back(value);
    if (key == "tagignore") read.view.tag_ignore.push_back(value);
  }
  if (const auto by = request.Query("by")) {
    const auto granularity = report::GranularityFromName(*by);
    if (!granularity) {
      return Fail(ErrorCode::kInvalidArgument,
                  "parameter by: '" + *by + "' is not function, line, file or address");
    }
    read.view.by = *granularity;
  }
  read.by_cum = IsTrue(request.Query("cum"));
  if (const auto rows = request.Query("n")) {
    const auto number = ParseNumber<size_t>("n", *rows);
    if (!number) return std::unexpected(number.error());
    read.rows = *number;
  }
  return read;
}

// What the base's capture is asked: base_NAME in place of NAME.
HttpRequest BaseRequest(const HttpRequest& request) {
  HttpRequest base = request;
  std::vector<std::pair<std::string, std::string>> replaced;
  for (const auto& [key, value] : request.query) {
    if (key.starts_with(kBasePrefix)) replaced.emplace_back(key.substr(kBasePrefix.size()), value);
  }
  std::erase_if(base.query, [&](const auto& parameter) {
    return parameter.first.starts_with(kBasePrefix) ||
           std::ranges::any_of(replaced,
                               [&](const auto& other) { return other.first == parameter.first; });
  });
  base.query.insert(base.query.end(), replaced.begin(), replaced.end());
  return base;
}

class Top : public Handler {
 public:
  explicit Top(CaptureProfile capture) : capture_(std::move(capture)) {}
  HttpResponse Handle(const HttpRequest& request) override {
    const auto read = ReadRequest(request);
    if (!read) return ErrorResponse(read.error());
    auto profile = capture_(request);
    if (!profile) return ErrorResponse(profile.error());
    const auto view = report::MakeView(report::Compact(*profile), read->view);
    if (!view) return ErrorResponse(view.error());
    report::TrimOptions trim;
    trim.by_cum = read->by_cum;
    trim.node_count = read->rows;
    return JsonResponse(200, report::TopJson(*view, trim));
  }

 private:
  CaptureProfile capture_;
};

class QualityReport : public Handler {
 public:
  explicit QualityReport(CaptureProfile capture) : capture_(std::move(capture)) {}
  HttpResponse Handle(const HttpRequest& request) override {
    double least_complete = 0, least_named = 0;
    for (const auto& [name, least] :
         {std::pair{"min_complete", &least_complete}, std::pair{"min_named", &least_named}}) {
      const auto text = request.Query(name);
      if (!text) continue;
      const auto number = ParseNumber<double>(name, *text);
      if (!number) return ErrorResponse(number.error());
      *least = *number;
    }
    const auto profile = capture_(request);
    if (!profile) return ErrorResponse(profile.error());
    const report::Quality quality = report::MeasureQuality(*profile);
    const bool passes =
        quality.CompleteRatio() >= least_complete && quality.NamedRatio() >= least_named;
    return JsonResponse(passes ? 200 : 422, report::QualityJson(quality));
  }

 private:
  CaptureProfile capture_;
};

class DiffReport : public Handler {
 public:
  explicit DiffReport(CaptureProfile capture) : capture_(std::move(capture)) {}
  HttpResponse Handle(const HttpRequest& request) override {
    const auto read = ReadRequest(request);
    if (!read) return ErrorResponse(read.error());
    const HttpRequest base_request = BaseRequest(request);
    const bool together = std::ranges::any_of(request.query, [](const auto& parameter) {
      return parameter.first.starts_with(kBasePrefix);
    });
    auto base_capture = std::async(together ? std::launch::async : std::launch::deferred,
                                   [&] { return capture_(base_request); });
    if (!together) base_capture.wait();
    HttpRequest new_request = request;
    std::erase_if(new_request.query,
                  [](const auto& parameter) { return parameter.first.starts_with(kBasePrefix); });
    auto now = capture_(new_request);
    auto base = base_capture.get();
    if (!base) return ErrorResponse(base.error());
    if (!now) return ErrorResponse(now.error());
    const auto diff = report::Compare(report::Compact(*base), report::Compact(*now),
                                      {read->view, read->by_cum, read->rows});
    if (!diff) return ErrorResponse(diff.error());
    return JsonResponse(200, report::DiffJson(*diff));
  }

 private:
  CaptureProfile capture_;
};

}  // namespace

std::unique_ptr<Handler> TopHandler(CaptureProfile capture) {
  return std::make_unique<Top>(std::move(capture));
}
std::unique_ptr<Handler> QualityHandler(CaptureProfile capture) {
  return std::make_unique<QualityReport>(std::move(capture));
}
std::unique_ptr<Handler> DiffHandler(CaptureProfile capture) {
  return std::make_unique<DiffReport>(std::move(capture));
}

}  // namespace hotpath::api
