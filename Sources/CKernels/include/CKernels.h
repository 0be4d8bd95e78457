#include "ceilings.h"
#include "float_kernels.h"
#include "int8_kernels.h"
#include "spin.h"
