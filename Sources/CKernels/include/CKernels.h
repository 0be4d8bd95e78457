#include "ceilings.h"
#include "float_kernels.h"
#include "hints.h"
#include "int8_kernels.h"
