import CKernels

/// `dx = dy W`
extension MatrixProduct {
  /// Longest stretch of the reduction that is decoded at once.
  private static let slabRows = 2048
  /// Rows that pass over a group of panels together, so that they stay in cache; a multiple of `EL_ROW_GROUP` and of the
  /// kernels' tiles.
  private static let tileRows = 96

  private static func gradientLayout(_ weight: StoredMatrix, rows: Int) -> PanelLayout {
    PanelLayout(
      reduction: slab(weight, rows: rows), block: weight.gradientBlock, panels: PanelLayout.count(weight.columns))
  }

  private static func slab(_ weight: StoredMatrix, rows: Int) -> Int {
    let block = weight.gradientBlock
    return min(slabRows, (rows + block - 1) / block * block)
  }

  /// Scratch of one worker for `inputGradient`, in bytes.
  public static func gradientScratchByteCount(_ weight: StoredMatrix, rows: Int) -> Int {
    gradientLayout(weight, rows: weight.rows).largestTaskByteCount
  }

  /// `dx (+)= dy W`, or the part of the sum that some rows of `W` make.
  ///
  /// - Parameters:
  ///   - dy: `[tokens, rows]`, quantised as a gradient in blocks of `weight.gradientBlock`
  ///   - weight: `[out, in]`
  ///   - rows: rows of `weight`, from a multiple of `sliceAlignment`; `nil` for all
  ///   - start: column of `dy` that belongs to the first of them; `nil` where `dy` has no others
  ///   - dx: `[tokens, in]`
  ///   - term: joins the whole of `dx`
  ///   - scratch: one for each worker, of `gradientScratchByteCount`
  public static func inputGradient(
    _ dy: QuantizedRows, _ weight: StoredMatrix, rows: Range<Int>? = nil, from start: Int? = nil, into dx: Matrix,
    accumulate: Bool, adding term: LowRankTerm? = nil, pool: ThreadPool, scratch: [Scratch]
  ) {
    inputGradient(
      [Source(dy, weight, rows: rows, from: start, adding: term)], into: dx, accumulate: accumulate, pool: pool,
      scratch: scratch)
  }

  /// One of several products whose sum is an input gradient.
  public struct Source: Sendable {
    let dy: QuantizedRows
    let weight: StoredMatrix
    let rows: Range<Int>
    let start: Int
    let term: LowRankTerm?

    /// `dy W`; parameters as in `inputGradient`.
    public init(
      _ dy: QuantizedRows, _ weight: StoredMatrix, rows: Range<Int>? = nil, from start: Int? = nil,
      adding term: LowRankTerm?
    ) {
      self.dy = dy
      self.weight = weight
      self.rows = MatrixProduct.checked(rows, of: weight)
      self.start = start ?? 0
      self.term = term
      precondition(start != nil || dy.columns == self.rows.count, "gradient and weight fit")
      precondition(
        self.start % sliceAlignment == 0 && self.start + self.rows.count <= dy.columns
          && dy.block == weight.gradientBlock
          && dy.native.limit == EL_GRADIENT_LIMIT, "gradient and weight fit")
    }

    /// The weight as the kernels know it: the rows after these count as missing.
    var native: el_matrix {
      var matrix = weight.native
      matrix.rows = rows.upperBound
      return matrix
    }
  }

  /// The sum of several products, one after the other for each part of `dx`, in one loop whose threads wait for each other
  /// once.
  ///
  /// - Parameters:
  ///   - dx: `[tokens, in]`
  ///   - scratch: one for each worker, of `gradientScratchByteCount`
  public static func inputGradient(
    _ sources: [Source], into dx: Matrix, accumulate: Bool, pool: ThreadPool, scratch: [Scratch]
  ) {
    precondition(
      sources.allSatisfy { $0.dy.rows == dx.rows && $0.weight.columns == dx.columns && $0.term?.fits(dx) ?? true },
      "input gradient fits")
    let (rows, matrices) = (sources.map(\.dy.native), sources.map(\.native))
    rows.withUnsafeBufferPointer { rows in
      matrices.withUnsafeBufferPointer { matrices in
        guard let firstRows = rows.baseAddress, let firstMatrix = matrices.baseAddress else { return }
        let parts = sources.indices.map {
          PanelGradient(
            source: sources[$0], rows: UncheckedPointer(firstRows + $0), weight: UncheckedPointer(firstMatrix + $0))
        }
        let division = PanelDivision(
          panels: PanelLayout.count(dx.columns), panelsPerTask: parts.map(\.layout.panelsPerTask).min() ?? 1,
          rows: dx.rows, threadCount: pool.threadCount)
        pool.run(division.count, as: .integerProduct, inOrder: true) { task, worker in
          let (range, tokens) = division.part(task)
          for (index, part) in parts.enumerated() {
            for first in stride(from: 0, to: part.length, by: part.slab) {
              // What the thread decodes next: the same columns further down, of the next weight, or another task's.
              let upcoming =
                if first + part.slab < part.length {
                  part.upcoming(range, from: first + part.slab, during: range, tokens: tokens)
                } else if index + 1 < parts.count {
                  parts[index + 1].upcoming(range, from: 0, during: range, tokens: tokens)
                } else {
                  division.task(after: task).map {
                    parts[0].upcoming($0.panels, from: 0, during: range, tokens: tokens)
                  }
                }
              part.multiply(
                range, from: first, tokens: tokens, into: dx, accumulate: accumulate || index > 0, upcoming: upcoming,
                meter: pool.meter, worker: worker, memory: scratch[worker].base)
            }
          }
        }
      }
    }
  }

  /// What the tasks of an input gradient have in common for one source.
  private struct PanelGradient: Sendable {
    let source: Source
    let rows: UncheckedPointer<el_rows>
    let weight: UncheckedPointer<el_matrix>
    let layout: PanelLayout
    /// Rows of the weight that are decoded together.
    let slab: Int
    /// Elements of the reduction.
    let length: Int

    init(source: Source, rows: UncheckedPointer<el_rows>, weight: UncheckedPointer<el_matrix>) {
      self.source = source
      self.rows = rows
      self.weight = weight
      layout = gradientLayout(source.weight, rows: source.rows.count)
      slab = MatrixProduct.slab(source.weight, rows: source.rows.count)
      length = (source.rows.count + source.dy.block - 1) / source.dy.block * source.dy.block
    }

    /// What is asked for while a task's products are computed.
    func upcoming(_ panels: Range<Int>, from first: Int, during range: Range<Int>, tokens: Range<Int>)
      -> UpcomingWeights
    {
      UpcomingWeights(
        source.weight,
        rows: source.rows.lowerBound + first..<source.rows.lowerBound + min(first + slab, source.rows.count),
        columns: panels.lowerBound * width..<panels.upperBound * width,
        steps: (tokens.count + tileRows - 1) / tileRows * range.count)
    }

    /// Decodes a slab of some panels and multiplies some tokens with them.
    func multiply(
      _ range: Range<Int>, from first: Int, tokens: Range<Int>, into dx: Matrix, accumulate: Bool,
      upcoming: UpcomingWeights?, meter: WorkMeter, worker: Int, memory: UnsafeMutableRawPointer
    ) {
      let reduction = min(slab, length - first)
      meter.mark(.decode, worker: worker)
      for index in range {
        var panel = layout.panel(index - range.lowerBound, at: memory)
        KernelTables.int8.pointee.decode_columns(
          weight.pointer, index * width, source.rows.lowerBound + first, reduction, source.dy.block, &panel)
      }
      meter.mark(.integerProduct, worker: worker)
      layout.forEachTile(range, at: memory, tokens: tokens, rows: tileRows, fetching: upcoming) { tile, index, panel in
        PanelProduct(
          x: rows, rows: tile, first: source.start + first, reduction: reduction, y: dx,
          columns: index * width..<(index + 1) * width, accumulate: accumulate || first > 0,
          term: first == 0 ? source.term : nil
        ).run(&panel)
      }
    }
  }
}
