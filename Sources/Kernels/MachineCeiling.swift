import CKernels
import Dispatch

/// What this machine can do at most, measured: what speeds of kernels are compared with.
public enum MachineCeiling {
  /// The instruction set whose multiply-add is measured: the current one, or the fastest where that is `portable`.
  public static var instructionSet: InstructionSet {
    let current = InstructionSet.current
    return current.name == "portable" ? InstructionSet.available[InstructionSet.available.count - 1] : current
  }

  /// Operations per second of the int8 multiply-add on all threads of the pool; a multiply-add is two operations. 0 where
  /// there is no such loop.
  public static func int8(pool: ThreadPool, seconds: Double) -> Double {
    let name = instructionSet.name
    return rate(pool, seconds) { el_peak_int8(name, $0) }
  }

  /// Operations per second of the fp32 multiply-add on all threads of the pool.
  public static func fp32(pool: ThreadPool, seconds: Double) -> Double {
    let name = String(cString: instructionSet.float.pointee.name)
    return rate(pool, seconds) { el_peak_fp32(name, $0) }
  }

  private static func rate(_ pool: ThreadPool, _ seconds: Double, _ run: @Sendable (UInt64) -> UInt64) -> Double {
    // as many rounds as fill the time; the first call also wakes the processor
    var rounds: UInt64 = 1000
    while true {
      let start = DispatchTime.now().uptimeNanoseconds
      guard run(rounds) > 0 else { return 0 }
      let elapsed = Double(DispatchTime.now().uptimeNanoseconds - start) * 1e-9
      if elapsed * 4 >= seconds {
        rounds = max(1, UInt64(Double(rounds) * seconds / elapsed))
        break
      }
      rounds *= 4
    }
    let perThread = rounds
    let start = DispatchTime.now().uptimeNanoseconds
    pool.run(pool.threadCount, as: .vector) { _, _ in _ = run(perThread) }
    let elapsed = Double(DispatchTime.now().uptimeNanoseconds - start) * 1e-9
    return 2 * Double(run(1)) * Double(perThread) * Double(pool.threadCount) / elapsed
  }

  /// Bytes per second that all threads of the pool together read from `memory`.
  public static func reading(_ memory: UnsafeRawBufferPointer, pool: ThreadPool) -> Double {
    guard let base = memory.baseAddress else { return 0 }
    let part = memory.count / pool.threadCount / 64 * 64
    let address = UInt(bitPattern: base)
    let start = DispatchTime.now().uptimeNanoseconds
    pool.run(pool.threadCount, as: .vector) { task, _ in
      _ = el_read_all(UnsafeRawPointer(bitPattern: address + UInt(task * part)), part)
    }
    let elapsed = Double(DispatchTime.now().uptimeNanoseconds - start) * 1e-9
    return Double(part * pool.threadCount) / elapsed
  }
}

extension MatrixProduct {
  /// The arithmetic of `forward` alone, for measurements: every task multiplies all rows with the panels that
  /// `decodeForMeasurement` put into its worker's scratch, as if they were its own.
  public static func multiplyOnly(
    _ x: QuantizedRows, _ weight: StoredMatrix, into y: Matrix, pool: ThreadPool, scratch: [Scratch]
  ) {
    let kernels = KernelTables.int8
    let panels = PanelLayout.count(weight.rows)
    let layout = PanelLayout(reduction: weight.columns, block: weight.reductionBlock, panels: panels)
    withUnsafePointer(to: x.native) { rows in
      let rows = UncheckedPointer(rows)
      pool.run(panels, as: .integerProduct, inOrder: true) { task, worker in
        var panel = layout.panel(0, at: scratch[worker].base)
        for start in stride(from: 0, to: x.rows, by: 96) {
          kernels.pointee.gemm(
            rows.pointer, start, min(96, x.rows - start), 0, weight.columns, &panel,
            y.base + start * y.stride + task * width, y.stride, min(width, weight.rows - task * width), 0)
        }
      }
    }
  }

  /// Puts a panel of `weight` into each scratch memory, of `forwardScratchByteCount` bytes.
  public static func decodeForMeasurement(_ weight: StoredMatrix, scratch: [Scratch]) {
    let kernels = KernelTables.int8
    let layout = PanelLayout(reduction: weight.columns, block: weight.reductionBlock, panels: 1)
    withUnsafePointer(to: weight.native) { native in
      for memory in scratch {
        var panel = layout.panel(0, at: memory.base)
        kernels.pointee.decode_rows(native, 0, weight.reductionBlock, &panel)
      }
    }
  }
}
