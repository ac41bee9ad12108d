// The kinds of tasks there are, each defined in its own file; task.cc lists them.
#pragma once

#include "minke/train/task.h"

namespace minke {

extern const TaskKind kCountdownKind, kCountdown4Kind, kCountdownToolKind;  // countdown_task.cc
extern const TaskKind kCountdownCallKind;                                   // countdown_call_task.cc
extern const TaskKind kLookupKind;                                          // lookup_task.cc
extern const TaskKind kSortKind;                                            // skeleton_task.cc

}  // namespace minke
