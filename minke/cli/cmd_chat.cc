// minke chat: a conversation in the terminal, or of the lines of a pipe.
#include <unistd.h>

#include "minke/base/nearest_name.h"
#include "minke/cli/answer.h"
#include "minke/cli/command.h"
#include "minke/cli/conversation.h"
#include "minke/cli/line_reader.h"
#include "minke/cli/sampling_flags.h"
#include "minke/cli/signals.h"
#include "minke/cli/terminal.h"

namespace minke {
namespace {

struct ChatFlags : ModelFlags, SamplingFlags {
  std::string system;
  std::optional<bool> think;
};

constexpr std::string_view kHelp =
    "/help          this list\n"
    "/reset         forget the conversation, keep the system text\n"
    "/save FILE     write the conversation as JSON\n"
    "/load FILE     read it back\n"
    "/think on|off  think before answering\n"
    "/system TEXT   set the system text (none: remove it)\n"
    "/tokens        how much of the context is used\n"
    "/quit          leave (also Ctrl-D)\n"
    "A line that ends in \\ goes on in the next; \"\"\" opens and closes a text of many lines; //x is the text /x.\n"
    "Ctrl-C stops an answer; twice, it leaves.\n";

class ChatLoop {
 public:
  ChatLoop(const ChatFlags& flags, CliContext& context, const ChatModel& chat, SamplingParams params, bool thinking)
      : flags_(flags),
        context_(context),
        chat_(chat),
        params_(std::move(params)),
        thinking_(thinking),
        conversation_(flags.system),
        interactive_(IsTerminal(STDIN_FILENO)),
        reader_(interactive_ && IsTerminal(STDERR_FILENO)) {}

  Status Run() {
    if (interactive_) {
      Say(fmt::format("{}: context {} tokens, attention {}, template {}, {}. /help lists commands.", chat_.path().name,
                      chat_.context(), chat_.attention(), Name(chat_.choice().format), Thinking()));
    }
    std::string text;
    for (;;) {
      const LineReader::Outcome outcome = ReadMessage(text);
      if (outcome == LineReader::Outcome::kEnd) return {};
      if (outcome == LineReader::Outcome::kInterrupt) {
        if (interrupted_ || !interactive_ || SignalGuard::Terminated()) return Fail(Code::kCancelled, "{}", "");
        interrupted_ = true;
        SignalGuard::Reset();
        Say("Ctrl-C again leaves.");
        continue;
      }
      interrupted_ = false;
      const ChatLine line = ParseChatLine(text);
      if (line.command == "/quit" || line.command == "/exit") return {};
      if (line.command.empty() && line.text.find_first_not_of(" \n\t") == std::string::npos) continue;
      const Status status = line.command.empty() ? Answer(line.text) : Command(line);
      if (status) continue;
      if (!interactive_ || context_.out.closed() || status.error().code == Code::kDamaged) return status;
      context_.Warn(status.error().message);  // a person can try again
    }
  }

 private:
  void Say(std::string_view text) const {
    if (!context_.quiet) WriteStderr(std::string(text) + "\n");
  }
  std::string Thinking() const { return thinking_ ? "thinking on" : "thinking off"; }

  // One message: a line, lines joined by a final backslash, or everything between """ and """.
  LineReader::Outcome ReadMessage(std::string& text) {
    text.clear();
    bool quoted = false;
    for (std::string prompt = "> ", line;; prompt = ". ") {
      const LineReader::Outcome outcome = reader_.Read(interactive_ ? prompt : "", line);
      if (outcome == LineReader::Outcome::kEnd && !text.empty()) return LineReader::Outcome::kLine;
      if (outcome != LineReader::Outcome::kLine) return outcome;
      if (line.ends_with('\r')) line.pop_back();
      if (!quoted && text.empty() && line.starts_with("\"\"\"")) {
        quoted = true;
        line.erase(0, 3);
      }
      if (quoted && line.ends_with("\"\"\"")) {
        text += line.substr(0, line.size() - 3);
        return outcome;
      }
      const bool more = !quoted && line.ends_with('\\');
      if (more) line.pop_back();
      text += line;
      if (!quoted && !more) return outcome;
      text += '\n';
    }
  }

  Status Answer(const std::string& text) {
    conversation_.Add(TextMessage("user", text));
    const Status status = AnswerLast();
    if (!status) conversation_.DropLast();  // the question that could not be answered
    return status;
  }

  Status AnswerLast() {
    AnswerRequest request;
    request.thinking = thinking_;
    MINKE_ASSIGN(request.prompt, chat_.Encode(conversation_.Messages(), thinking_));
    request.params = params_;
    if (thinking_ && !flags_.stop_in_thinking) request.params.stop_after = kEndOfThinking;
    request.params.stream = conversation_.size();  // the same seed must not draw alike in every turn
    const auto prompt_tokens = static_cast<int64_t>(request.prompt.size());
    MINKE_ASSIGN(request.params.max_tokens, AnswerLimit(flags_, thinking_, prompt_tokens, chat_.context(),
                                                        chat_.engine().MostTokens(prompt_tokens)));
    SignalGuard::Reset();
    AnswerPrinter printer(context_, context_.quiet ? AnswerPrinter::Show::kAnswerOnly : AnswerPrinter::Show::kAll);
    MINKE_ASSIGN(minke::Answer answer, StreamAnswer(chat_, request, printer, context_));
    if (interactive_ || context_.verbose) context_.Note(Facts(chat_, request, answer));
    conversation_.Add(std::move(answer.message));  // a stopped answer counts as far as it came
    if (SignalGuard::Raised()) {
      if (!interactive_ || SignalGuard::Terminated()) return Fail(Code::kCancelled, "{}", "");
      interrupted_ = true;
      SignalGuard::Reset();
      Say("Stopped. Ctrl-C again leaves.");
    }
    return {};
  }

  Status Command(const ChatLine& line) {
    if (line.command == "/help") {
      WriteStderr(kHelp);
    } else if (line.command == "/reset") {
      conversation_.Reset();
    } else if (line.command == "/save" || line.command == "/load") {
      if (line.text.empty()) return Fail(Code::kInvalidArgument, "{}: which file? {} FILE", line.command, line.command);
      if (line.command == "/save") return conversation_.Save(line.text);
      MINKE_TRY(conversation_.Load(line.text));
      Say(fmt::format("{} messages", conversation_.size()));
    } else if (line.command == "/think") {
      if (!line.text.empty() && line.text != "on" && line.text != "off") {
        return Fail(Code::kInvalidArgument, "/think {}: expected on or off", line.text);
      }
      MINKE_ASSIGN(thinking_, chat_.ChooseThinking(line.text.empty() ? !thinking_ : line.text == "on"));
      Say(Thinking());
    } else if (line.command == "/system") {
      conversation_.SetSystem(line.text);
    } else if (line.command == "/tokens") {
      size_t used = 0;
      if (conversation_.size() > 0) {
        // As the next turn will show it: earlier thinking is gone by then.
        MINKE_ASSIGN(const auto ids, chat_.Encode(conversation_.Messages(), /*thinking=*/false));
        used = ids.size();
      }
      Say(fmt::format("{} of {} tokens", used, chat_.context()));
    } else {
      const std::string near =
          NearestName(line.command, {"/help", "/reset", "/save", "/load", "/think", "/system", "/tokens", "/quit"});
      return Fail(Code::kInvalidArgument, "unknown command {}: {}", line.command,
                  near.empty() ? "/help lists them" : "did you mean " + near + "?");
    }
    return {};
  }

  const ChatFlags& flags_;
  CliContext& context_;
  const ChatModel& chat_;
  const SamplingParams params_;
  bool thinking_;
  Conversation conversation_;
  const bool interactive_;
  bool interrupted_ = false;  // the last thing that happened was a Ctrl-C
  LineReader reader_;
};

Status Chat(const ChatFlags& flags, CliContext& context) {
  MINKE_ASSIGN(const auto chat, ChatModel::Open(flags, context));
  MINKE_ASSIGN(SamplingParams params, MakeSamplingParams(flags, chat->path().folder, chat->config().vocab_size));
  MINKE_ASSIGN(const bool thinking, chat->ChooseThinking(flags.think));
  const SignalGuard guard;
  return ChatLoop(flags, context, *chat, std::move(params), thinking).Run();
}

}  // namespace

void AddChatCommand(FlagSet program, CliContext& context) {
  auto flags = std::make_shared<ChatFlags>();
  FlagSet verb =
      AddVerb(program, context, "chat", "A conversation", [flags, &context] { return Chat(*flags, context); });
  AddModelFlags(verb, *flags);
  AddDraftFlags(verb, *flags);
  AddSamplingFlags(verb, *flags);
  verb.Text("--system", flags->system, "System text of the conversation");
  verb.Switch("--think,!--no-think", flags->think, "Think first (default: where the model's format has it)");
  flags->think.reset();  // CLI11 sets what it binds; no flag must stay no wish
}

}  // namespace minke
