import Glibc

/// `log` and `cos` under names that do not hide those of the standard library.
func logarithm(_ x: Double) -> Double { log(x) }
func cosine(_ x: Double) -> Double { cos(x) }
func hyperbolicTangent(_ x: Float) -> Float { tanhf(x) }
func sigmoid(_ x: Float) -> Float { 1 / (1 + expf(-x)) }
