/* What must go with rows that were deleted. */
#ifndef SERVER_API_CASCADE_H
#define SERVER_API_CASCADE_H

#include "api.h"

/* After anything was deleted with all that it owned: files, folders of trainings and predictors
 * whose rows are gone go, too, and trainings whose session is gone are interrupted. */
void cascade(api *a);

#endif
