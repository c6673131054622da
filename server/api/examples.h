/* Examples of the OpenAPI document. */
#ifndef SERVER_API_EXAMPLES_H
#define SERVER_API_EXAMPLES_H

#include <jansson.h>

/* Of the operation; the caller's. NULL: it takes, or answers with, no JSON. */
json_t *example_request(const char *id);
json_t *example_answer(const char *id);

#endif
