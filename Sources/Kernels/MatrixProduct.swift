import CKernels

/// Products with frozen weights in 8 bits: a few panels of `W` are decoded, then all tokens pass over them.
public enum MatrixProduct {
  /// Bytes of decoded weights that a task works on at once: they should stay in the second-level cache.
  private static let panelBytes = 192 * 1024
  /// Longest stretch of the gradient's reduction that is decoded at once.
  private static let slabRows = 2048
  /// Rows of the input that pass over a group of panels together, so that they stay in cache.
  private static let tileRows = 96
  /// Up to so many rows are products of vectors: decoding into panels would not pay.
  private static let fewRows = 2

  private static func align(_ byteCount: Int) -> Int { (byteCount + 63) / 64 * 64 }

  private static func byteCount(ofPanel reduction: Int, block: Int) -> Int {
    let blocks = (reduction + block - 1) / block
    return align(reduction * Int(EL_PANEL)) + 2 * align(blocks * Int(EL_PANEL) * 4)
  }

  /// Panels per task: bounded by cache, and few enough that all threads find work.
  private static func panelsPerTask(panels: Int, panelByteCount: Int) -> Int {
    max(1, min(4, panelBytes / panelByteCount, (panels + 7) / 8))
  }

  private static func rowBufferByteCount(_ columns: Int) -> Int { align(columns * 4 + columns + columns / 8 + 64) }

  /// Scratch of one worker for `forward`, in bytes.
  public static func forwardScratchByteCount(_ weight: StoredMatrix, rows: Int) -> Int {
    let panel = byteCount(ofPanel: weight.columns, block: weight.reductionBlock)
    let panels = (weight.rows + Int(EL_PANEL) - 1) / Int(EL_PANEL)
    return panel * panelsPerTask(panels: panels, panelByteCount: panel) + rowBufferByteCount(weight.columns)
      + align(exactPanelByteCount)
  }

  private static let exactPanelByteCount = 16 * Int(EL_PANEL) * 4

  /// Scratch of one worker for `inputGradient`, in bytes.
  public static func gradientScratchByteCount(_ weight: StoredMatrix, rows: Int) -> Int {
    let panel = byteCount(ofPanel: slab(of: weight), block: weight.gradientBlock)
    let panels = (weight.columns + Int(EL_PANEL) - 1) / Int(EL_PANEL)
    return panel * panelsPerTask(panels: panels, panelByteCount: panel)
  }

  private static func slab(of weight: StoredMatrix) -> Int {
    let block = weight.gradientBlock
    return min(slabRows, (weight.rows + block - 1) / block * block)
  }

  private static func panel(at base: UnsafeMutableRawPointer, reduction: Int, block: Int) -> el_panel {
    let blocks = (reduction + block - 1) / block
    let scales = base + align(reduction * Int(EL_PANEL))
    return el_panel(
      codes: base.assumingMemoryBound(to: Int8.self), scales: scales.assumingMemoryBound(to: Float.self),
      sums: (scales + align(blocks * Int(EL_PANEL) * 4)).assumingMemoryBound(to: Int32.self))
  }

  /// `y (+)= x Wᵀ`.
  ///
  /// - Parameters:
  ///   - x: `[tokens, in]`, quantised in blocks of `weight.reductionBlock`
  ///   - weight: `[out, in]`
  ///   - y: `[tokens, out]`
  ///   - scratch: one for each worker, of `forwardScratchByteCount`
  public static func forward(
    _ x: QuantizedRows, _ weight: StoredMatrix, rows wr: Range<Int>? = nil, into y: Matrix, accumulate: Bool, pool: ThreadPool, scratch: [Scratch]
  ) {
    let wr = wr ?? 0..<weight.rows
    precondition(x.columns == weight.columns && x.block == weight.reductionBlock, "input and weight fit")
    precondition(y.rows == x.rows && y.columns == wr.count, "output fits")
    if x.rows <= fewRows {
      forwardFew(x, weight, rows: wr, into: y, accumulate: accumulate, pool: pool, scratch: scratch)
      return
    }
    let width = Int(EL_PANEL)
    let kernels = InstructionSet.current.int8.pointee
    let panels = (wr.count + width - 1) / width
    let panelByteCount = byteCount(ofPanel: weight.columns, block: x.block)
    let perTask = panelsPerTask(panels: panels, panelByteCount: panelByteCount)
    let groups = x.groups
    var native = weight.native
    withUnsafePointer(to: &native) { native in
      let native = UncheckedPointer(native)
      pool.run((panels + perTask - 1) / perTask, as: .integerProduct) { task, worker in
        let memory = scratch[worker].base
        let buffer = (memory + perTask * panelByteCount).assumingMemoryBound(to: Float.self)
        let exact = (memory + perTask * panelByteCount + rowBufferByteCount(weight.columns))
          .assumingMemoryBound(to: Float.self)
        let range = task * perTask..<min((task + 1) * perTask, panels)
        pool.meter.mark(.decode, worker: worker)
        for index in range {
          var decoded = panel(
            at: memory + (index - range.lowerBound) * panelByteCount, reduction: weight.columns, block: x.block)
          kernels.decode_rows(native.pointer, wr.lowerBound + index * width, x.block, buffer, &decoded)
        }
        pool.meter.mark(.integerProduct, worker: worker)
        for start in stride(from: 0, to: x.rows, by: tileRows) {
          let count = min(tileRows, x.rows - start)
          for index in range {
            var decoded = panel(
              at: memory + (index - range.lowerBound) * panelByteCount, reduction: weight.columns, block: x.block)
            kernels.gemm(
              count, x.stride, x.block, x.codes + start * x.stride, x.stride, x.scales + start * x.blocks, x.blocks,
              &decoded, y.base + start * y.stride + index * width, y.stride, min(width, wr.count - index * width),
              accumulate ? 1 : 0)
          }
        }
        guard x.exactCount > 0 else { return }
        for index in range {
          let decoded = panel(
            at: memory + (index - range.lowerBound) * panelByteCount, reduction: weight.columns, block: x.block)
          addExactColumns(
            x, groups: groups, panel: decoded, values: exact,
            into: y.columns(index * width..<min((index + 1) * width, wr.count)))
        }
      }
    }
  }

  /// `y[t] += sum_c exact[t][c] * w[c]` for the panel's columns.
  private static func addExactColumns(
    _ x: QuantizedRows, groups: [Range<Int>], panel: el_panel, values: UnsafeMutablePointer<Float>, into y: Matrix
  ) {
    let width = Int(EL_PANEL)
    for (group, rows) in groups.enumerated() {
      for index in 0..<x.exactCount {
        let column = Int(x.exactColumns[group * x.exactCount + index])
        let codes = panel.codes + column / 4 * width * 4 + column % 4
        let scales = panel.scales + column / x.block * width
        for j in 0..<width { values[index * width + j] = Float(codes[j * 4]) * scales[j] }
      }
      InstructionSet.current.float.pointee.gemm(
        rows.count, y.columns, x.exactCount, 1, x.exactValues + rows.lowerBound * x.exactCount, x.exactCount, 1, values,
        width, 1, y.base + rows.lowerBound * y.stride, y.stride)
    }
  }

  /// Products of one or two rows, as in generation: every row of `W` is decoded once and dotted.
  private static func forwardFew(
    _ x: QuantizedRows, _ weight: StoredMatrix, rows wr: Range<Int>, into y: Matrix, accumulate: Bool, pool: ThreadPool, scratch: [Scratch]
  ) {
    let kernels = InstructionSet.current.int8.pointee
    let tile = 64
    let groups = x.groups
    var native = weight.native
    withUnsafePointer(to: &native) { native in
      let native = UncheckedPointer(native)
      pool.run((wr.count + tile - 1) / tile, as: .integerProduct) { task, worker in
        let buffer = scratch[worker].base.assumingMemoryBound(to: Float.self)
        let first = task * tile
        let count = min(tile, wr.count - first)
        withUnsafeTemporaryAllocation(of: Float.self, capacity: tile + 32) { space in
          guard let values = space.baseAddress else { return }
          let element = values + tile
          for (group, rows) in groups.enumerated() {
            for row in rows {
              kernels.dot_rows(
                native.pointer, wr.lowerBound + first, count, x.block, x.codes + row * x.stride, x.scales + row * x.blocks, buffer,
                values)
              for index in 0..<x.exactCount {
                let column = Int(x.exactColumns[group * x.exactCount + index])
                let exact = x.exactValues[row * x.exactCount + index]
                for j in 0..<count {
                  kernels.decode_floats(native.pointer, wr.lowerBound + first + j, column / 32 * 32, 32, element)
                  values[j] += exact * element[column % 32]
                }
              }
              let out = y.base + row * y.stride + first
              for j in 0..<count { out[j] = accumulate ? out[j] + values[j] : values[j] }
            }
          }
        }
      }
    }
  }

  /// `dx (+)= dy W`.
  ///
  /// - Parameters:
  ///   - dy: `[tokens, out]`, quantised in blocks of `weight.gradientBlock` without exact columns
  ///   - weight: `[out, in]`
  ///   - dx: `[tokens, in]`
  ///   - scratch: one for each worker, of `gradientScratchByteCount`
  public static func inputGradient(
    _ dy: QuantizedRows, _ weight: StoredMatrix, rows wr: Range<Int>? = nil, into dx: Matrix, accumulate: Bool, pool: ThreadPool,
    scratch: [Scratch]
  ) {
    let wr = wr ?? 0..<weight.rows
    precondition(dy.columns == wr.count && dy.block == weight.gradientBlock, "gradient and weight fit")
    precondition(dx.rows == dy.rows && dx.columns == weight.columns && dy.exactCount == 0, "input gradient fits")
    let width = Int(EL_PANEL)
    let kernels = InstructionSet.current.int8.pointee
    let panels = weight.columns / width
    let slab = slab(of: weight)
    let panelByteCount = byteCount(ofPanel: slab, block: dy.block)
    let perTask = panelsPerTask(panels: panels, panelByteCount: panelByteCount)
    var native = weight.native
    withUnsafePointer(to: &native) { native in
      let native = UncheckedPointer(native)
      pool.run((panels + perTask - 1) / perTask, as: .integerProduct) { task, worker in
        let memory = scratch[worker].base
        let range = task * perTask..<min((task + 1) * perTask, panels)
        for first in stride(from: 0, to: dy.stride, by: slab) {
          let reduction = min(slab, dy.stride - first)
          pool.meter.mark(.decode, worker: worker)
          for index in range {
            var decoded = panel(
              at: memory + (index - range.lowerBound) * panelByteCount, reduction: reduction, block: dy.block)
            kernels.decode_columns(native.pointer, index * width, wr.lowerBound + first, reduction, dy.block, &decoded)
          }
          pool.meter.mark(.integerProduct, worker: worker)
          for start in stride(from: 0, to: dy.rows, by: tileRows) {
            let count = min(tileRows, dy.rows - start)
            for index in range {
              var decoded = panel(
                at: memory + (index - range.lowerBound) * panelByteCount, reduction: reduction, block: dy.block)
              kernels.gemm(
                count, reduction, dy.block, dy.codes + start * dy.stride + first, dy.stride,
                dy.scales + start * dy.blocks + first / dy.block, dy.blocks, &decoded,
                dx.base + start * dx.stride + index * width, dx.stride, width, accumulate || first > 0 ? 1 : 0)
            }
          }
        }
      }
    }
  }
}

/// A pointer that a parallel loop may read: what it points to outlives the loop and does not change.
struct UncheckedPointer<T>: @unchecked Sendable {
  let pointer: UnsafePointer<T>
  init(_ pointer: UnsafePointer<T>) { self.pointer = pointer }
}
