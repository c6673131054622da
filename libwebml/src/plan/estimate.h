/* What a plan will take on a GPU that is not asked. */
#ifndef WML_PLAN_ESTIMATE_H
#define WML_PLAN_ESTIMATE_H

#include "base/status.h"

/* Adds the needs of a graph's plan, from the types of its elements: values of mixed_bfloat16 take 2
 * bytes, weights have a copy of 2 beside their 4, gradients and slots 4; large weights and slots
 * lie twice, and the vendors' libraries have their workspace. Parameters and state are counted
 * where `shared` is false. */
webml_status wml_estimate_memory(const wml_graph *graph, bool shared, webml_memory *memory);

#endif
