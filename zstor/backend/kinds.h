/* kinds - which kind of backend is at an address. */
#ifndef ZSTOR_BACKEND_KINDS_H
#define ZSTOR_BACKEND_KINDS_H

#include "zstor/backend/op.h"

/* NULL: only its number is known, nothing can be asked there. */
const struct backend_kind *backend_kind_of(const struct backend_addr *a);

#endif
