import CKernels
import Glibc

/// The kernels that this process uses: the fastest that the processor can run, or what `EDGELORA_ISA` names.
public struct InstructionSet: @unchecked Sendable {
  // @unchecked: the tables are constant data.

  /// `portable`, `sse42`, `avx2`, `avxvnni`, `avx512vnni`, `neon`, `dotprod` or `i8mm`.
  public let name: String
  let float: UnsafePointer<el_float_kernels>
  let int8: UnsafePointer<el_int8_kernels>

  /// The environment variable that forces an instruction set.
  public static let variable = "EDGELORA_ISA"

  /// A wish that this machine cannot fulfil.
  public struct Unavailable: Error, CustomStringConvertible {
    let wanted: String
    public var description: String {
      "\(InstructionSet.variable)=\(wanted): this machine runs "
        + InstructionSet.available.map(\.name).joined(separator: ", ")
    }
  }

  /// Everything that this machine can run, slowest first.
  public static let available: [InstructionSet] = {
    var sets: [InstructionSet] = []
    guard let names = el_int8_kernel_names() else { return sets }
    var index = 0
    while let name = names[index] {
      if let set = InstructionSet(named: String(cString: name)) { sets.append(set) }
      index += 1
    }
    return sets
  }()

  /// What the environment asks for.
  private static var wanted: String? { getenv(variable).map { String(cString: $0) } }

  /// What is used; fixed at the first use.
  public static let current: InstructionSet = {
    if let wanted, let set = InstructionSet(named: wanted) {
      return set
    }
    return available[available.count - 1]
  }()

  /// - Throws: `Unavailable` if `EDGELORA_ISA` names something that this machine cannot run.
  public static func checkEnvironment() throws {
    if let wanted, InstructionSet(named: wanted) == nil {
      throw Unavailable(wanted: wanted)
    }
  }

  init?(named name: String) {
    let floatName =
      switch name {
      case "avx512vnni": el_float_kernels_named("avx512bf16") == nil ? "avx512" : "avx512bf16"
      case "avxvnni": "avx2"
      case "dotprod", "i8mm": "neon"
      default: name
      }
    guard let int8 = el_int8_kernels_named(name), let float = el_float_kernels_named(floatName) else { return nil }
    self.name = name
    self.int8 = int8
    self.float = float
  }
}

/// The tables of `InstructionSet.current` as bare addresses: what a loop touches is neither copied nor retained.
enum KernelTables {
  static let float = UncheckedPointer(InstructionSet.current.float)
  static let int8 = UncheckedPointer(InstructionSet.current.int8)
}
