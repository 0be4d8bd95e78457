import Glibc

/// The library of the fp32 reference, which is loaded when somebody asks for it: most runs never do, and it makes every process
/// larger by 2 to 3 MB.
///
/// Only two functions are used, by their addresses: `cblas_sgemm` and `openblas_set_num_threads`, whose integers have 32 bits
/// in `libopenblas.so.0` of Debian (the interface called LP64).
public struct OpenBLAS: Sendable {
  /// Why there is none.
  public enum Failure: Error, CustomStringConvertible {
    case missing(reason: String)
    case unusable(reason: String)

    public var description: String {
      switch self {
      case .missing(let reason):
        "--precision f32 multiplies with OpenBLAS, which cannot be loaded: \(reason)\n"
          + "       install it: apt install libopenblas0"
      case .unusable(let reason):
        "--precision f32 multiplies with OpenBLAS, but \(OpenBLAS.fileName) \(reason)\n"
          + "       install Debian's: apt install libopenblas0"
      }
    }
  }

  /// C's `cblas_sgemm(order, transA, transB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)`.
  private typealias Multiply =
    @Sendable @convention(c) (
      UInt32, UInt32, UInt32, Int32, Int32, Int32, Float, UnsafePointer<Float>, Int32, UnsafePointer<Float>, Int32,
      Float,
      UnsafeMutablePointer<Float>, Int32
    ) -> Void
  private typealias SetThreadCount = @convention(c) (Int32) -> Void
  private typealias GetConfiguration = @convention(c) () -> UnsafePointer<CChar>?

  /// Where Debian's packages put it, for the system's loader to find.
  public static let fileName = "libopenblas.so.0"
  private static let rowMajor: UInt32 = 101
  private static let asItIs: UInt32 = 111
  private static let transposed: UInt32 = 112

  private let multiply: Multiply

  /// The library, loaded once, or why it cannot be. It is set to one thread: the pool has its own.
  static let shared = Result<OpenBLAS, Failure> { () throws(Failure) in try OpenBLAS(fileName) }

  /// - Parameter file: a name that the system looks for, or a path
  public init(_ file: String) throws(Failure) {
    guard let library = dlopen(file, RTLD_NOW | RTLD_LOCAL) else {
      throw Failure.missing(reason: dlerror().map { String(cString: $0) } ?? file)
    }
    guard let multiply = dlsym(library, "cblas_sgemm"), let setThreadCount = dlsym(library, "openblas_set_num_threads")
    else {
      throw Failure.unusable(reason: "lacks cblas_sgemm or openblas_set_num_threads")
    }
    if let symbol = dlsym(library, "openblas_get_config"),
      let text = unsafeBitCast(symbol, to: GetConfiguration.self)(), strstr(text, "USE64BITINT") != nil
    {
      throw Failure.unusable(reason: "counts in 64 bits")
    }
    unsafeBitCast(setThreadCount, to: SetThreadCount.self)(1)
    self.multiply = unsafeBitCast(multiply, to: Multiply.self)
  }

  /// `y = x Wᵀ`, or `y += x Wᵀ`; `x`: `[tokens, in]`, `w`: `[out, in]`, `y`: `[tokens, out]`.
  func multiply(_ x: Matrix, transposed w: Matrix, into y: Matrix, accumulate: Bool) {
    precondition(w.columns == x.columns && y.rows == x.rows && y.columns == w.rows, "matrices that fit each other")
    multiply(
      Self.rowMajor, Self.asItIs, Self.transposed, Int32(x.rows), Int32(w.rows), Int32(w.columns), 1, x.base,
      Int32(x.stride), w.base, Int32(w.stride), accumulate ? 1 : 0, y.base, Int32(y.stride))
  }

  /// `y = x W`, or `y += x W`; `x`: `[tokens, in]`, `w`: `[in, out]`, `y`: `[tokens, out]`.
  func multiply(_ x: Matrix, _ w: Matrix, into y: Matrix, accumulate: Bool) {
    precondition(w.rows == x.columns && y.rows == x.rows && y.columns == w.columns, "matrices that fit each other")
    multiply(
      Self.rowMajor, Self.asItIs, Self.asItIs, Int32(x.rows), Int32(w.columns), Int32(w.rows), 1, x.base,
      Int32(x.stride),
      w.base, Int32(w.stride), accumulate ? 1 : 0, y.base, Int32(y.stride))
  }
}
