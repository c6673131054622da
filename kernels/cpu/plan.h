/* What backend.c calls of plan.c. All but memory() run in turn (executor.h). */
#ifndef WML_CPU_PLAN_H
#define WML_CPU_PLAN_H

#include "cpu.h"

wml_result cpu_plan_create(wml_store *store, const wml_graph *graph, wml_plan **plan);
void cpu_plan_memory(const wml_plan *plan, wml_memory *memory);
wml_result cpu_plan_prepare(wml_plan *plan);
wml_result cpu_plan_run(wml_plan *plan, wml_run *run);
void cpu_plan_destroy(wml_plan *plan);

#endif
