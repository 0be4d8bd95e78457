import CKernels

/// `y = x Wᵀ`
extension MatrixProduct {
  /// Rows of the input that pass over a group of panels together: they have floats in common.
  private static let inputTileRows = QuantizedRows.groupRows
  /// Rows of `W` that one task takes when the input has few rows.
  private static let fewTile = 64
  /// Most rows that are products of vectors.
  private static let mostFewRows = Int(EL_DOT_ROWS)
  /// Rows with outlier columns of their own that meet a row of `W` together.
  private static let ownRows = 4

  /// Up to so many rows are products of vectors: decoding into panels would not pay. Float weights would lose bits in
  /// panels besides.
  private static func fewRows(_ weight: StoredMatrix) -> Int { weight.isFloat ? mostFewRows : 2 }

  /// - Parameter count: panels of the whole loop
  private static func forwardLayout(_ weight: StoredMatrix, panels count: Int) -> PanelLayout {
    PanelLayout(reduction: weight.columns, block: weight.reductionBlock, panels: count)
  }

  /// Scratch of one worker for `forward`, in bytes.
  public static func forwardScratchByteCount(_ weight: StoredMatrix, rows: Int) -> Int {
    let many =
      forwardLayout(weight, panels: PanelLayout.count(weight.rows)).largestTaskByteCount
      + Scratch.aligned(exactPanelByteCount)
      + PanelLayout.mostPanels * QuantizedRows.mostMeans(rows: rows) * width * 4
      + Scratch.aligned(meanRows * weight.columns * 4)
    let few = Scratch.aligned(
      KernelTables.int8.pointee.dot_buffer_bytes(weight.columns, min(rows, max(ownRows, fewRows(weight)))))
    return max(many, few + Scratch.aligned(mostFewRows * fewTile * 4))
  }

  /// Values of the panel at the exact columns, and below them the product of a mean.
  private static let exactPanelByteCount = (Int(EL_EXACT) + 1) * width * 4
  /// Rows of `W` whose floats meet the means together.
  private static let meanRows = 4

  /// `y (+)= x Wᵀ`, or some of its columns.
  ///
  /// - Parameters:
  ///   - x: `[tokens, in]`, quantised as an input in blocks of `weight.reductionBlock`
  ///   - weight: `[out, in]`
  ///   - rows: rows of `weight`, from a multiple of `sliceAlignment`; `nil` for all
  ///   - y: `[tokens, rows]`
  ///   - term: joins the whole of `y`
  ///   - scaled: where the columns of `y` go besides
  ///   - few: how few rows are multiplied; `.alone` asks for rows that are quantised one by one
  ///   - scratch: one for each worker, of `forwardScratchByteCount`
  public static func forward(
    _ x: QuantizedRows, _ weight: StoredMatrix, rows: Range<Int>? = nil, into y: Matrix, accumulate: Bool,
    adding term: LowRankTerm? = nil, scaled: ScaledColumns? = nil, few: FewRows = .fast, pool: ThreadPool,
    scratch: [Scratch]
  ) {
    let output = Output(weight, rows: rows, into: y, accumulate: accumulate, adding: term, scaled: scaled)
    precondition(output.fits(x), "input and weight fit")
    let areVectors =
      switch few {
      case .fast: x.rows <= fewRows(weight)
      case .likeMany: false
      case .alone: true
      }
    guard areVectors else {
      forward(x, [output], pool: pool, scratch: scratch)
      return
    }
    precondition(few != .alone || x.groups.count == x.rows, "rows that are quantised one by one")
    forwardFew(x, weight, rows: output.rows, into: y, accumulate: accumulate, pool: pool, scratch: scratch)
    term?.add(to: y, pool: pool)
    scaled?.take(y, pool: pool)
  }

  /// Few rows can be multiplied in another way than many, which is faster and rounds differently.
  public enum FewRows: Sendable {
    /// They are.
    case fast
    /// They are not, as in training, where a batch may come in parts.
    case likeMany
    /// Any number of rows is multiplied so: each has the bits that it has alone.
    case alone
  }

  /// One of several products of the same input.
  public struct Output: Sendable {
    let weight: StoredMatrix
    let rows: Range<Int>
    let y: Matrix
    let accumulate: Bool
    let term: LowRankTerm?
    let scaled: ScaledColumns?

    /// `y (+)= x Wᵀ`; parameters as in `forward`.
    public init(
      _ weight: StoredMatrix, rows: Range<Int>? = nil, into y: Matrix, accumulate: Bool, adding term: LowRankTerm?,
      scaled: ScaledColumns? = nil
    ) {
      self.weight = weight
      self.rows = MatrixProduct.checked(rows, of: weight)
      self.y = y
      self.accumulate = accumulate
      self.term = term
      self.scaled = scaled
      precondition(y.columns == self.rows.count, "output fits")
      precondition(term?.fits(y) ?? true, "term fits")
      precondition(scaled?.fits(y) ?? true, "a factor for every column")
    }

    /// Whether `x` is quantised for the weight.
    func fits(_ x: QuantizedRows) -> Bool {
      x.columns == weight.columns && x.block == weight.reductionBlock && x.native.limit == EL_INPUT_LIMIT
        && y.rows == x.rows
    }
  }

  /// Several products of the same input in one loop, whose threads wait for each other once; for more rows than a few.
  ///
  /// - Parameters:
  ///   - x: `[tokens, in]`, quantised as an input in blocks of all weights' `reductionBlock`
  ///   - scratch: one for each worker, of `forwardScratchByteCount`
  public static func forward(_ x: QuantizedRows, _ outputs: [Output], pool: ThreadPool, scratch: [Scratch]) {
    precondition(outputs.allSatisfy { $0.fits(x) }, "input and weights fit")
    let all = outputs.reduce(0) { $0 + PanelLayout.count($1.rows.count) }
    let matrices = outputs.map(\.weight.native)
    matrices.withUnsafeBufferPointer { matrices in
      withUnsafePointer(to: x.native) { native in
        guard let first = matrices.baseAddress else { return }
        var tasks = 0
        let parts = outputs.indices.map { index -> Part in
          let output = outputs[index]
          let forward = PanelForward(
            x: x, rows: UncheckedPointer(native), weight: UncheckedPointer(first + index), slice: output.rows,
            layout: forwardLayout(output.weight, panels: all))
          let division = PanelDivision(
            panels: PanelLayout.count(output.rows.count), panelsPerTask: forward.layout.panelsPerTask, rows: x.rows,
            threadCount: pool.threadCount, isLast: index == outputs.count - 1)
          defer { tasks += division.count }
          return Part(output: output, forward: forward, division: division, firstTask: tasks)
        }
        let taskCount = tasks
        @Sendable func place(_ task: Int) -> (part: Part, panels: Range<Int>, tokens: Range<Int>)? {
          guard let part = parts.last(where: { $0.firstTask <= task }), task < taskCount else { return nil }
          let (panels, tokens) = part.division.part(task - part.firstTask)
          return (part, panels, tokens)
        }
        pool.run(taskCount, as: .integerProduct, inOrder: true) { task, worker in
          guard let (part, range, tokens) = place(task) else { return }
          // What the thread takes next, if all tasks take the same time.
          let upcoming = place(task + pool.threadCount).map { next in
            next.part.forward.upcoming(next.panels, of: next.part.output.weight, during: range, tokens: tokens)
          }
          part.forward.multiply(
            range, tokens: tokens, into: part.output.y, accumulate: part.output.accumulate, term: part.output.term,
            scaled: part.output.scaled, upcoming: upcoming, meter: pool.meter, worker: worker,
            memory: scratch[worker].base)
        }
      }
    }
  }

  /// A product's place in a loop over several.
  private struct Part: Sendable {
    let output: Output
    let forward: PanelForward
    let division: PanelDivision
    let firstTask: Int
  }

  /// `x Wᵀ`, or some of its columns, a stretch of columns at a time: for a product that is too large to be kept, or to be
  /// read again from memory.
  ///
  /// - Parameters:
  ///   - x: `[tokens, in]`, quantised as an input in blocks of `weight.reductionBlock`
  ///   - weight: `[out, in]`
  ///   - rows: rows of `weight`, from a multiple of `sliceAlignment`
  ///   - length: columns of a stretch, a multiple of `sliceAlignment`; the last one may have fewer
  ///   - space: for a stretch, one for each worker: at least `[tokens, length]`
  ///   - scratch: one for each worker, of `forwardScratchByteCount`
  ///   - body: is given a stretch, by the rows of `weight` that it comes from
  public static func forEachStretch(
    _ x: QuantizedRows, _ weight: StoredMatrix, rows: Range<Int>, length: Int, space: [Matrix], pool: ThreadPool,
    scratch: [Scratch], _ body: @Sendable (_ columns: Range<Int>, _ y: Matrix) -> Void
  ) {
    let slice = checked(rows, of: weight)
    precondition(
      x.columns == weight.columns && x.block == weight.reductionBlock && x.native.limit == EL_INPUT_LIMIT
        && length % sliceAlignment == 0, "input, weight and stretches fit")
    let layout = forwardLayout(weight, panels: PanelLayout.count(weight.rows))
    let step = min(layout.panelsPerTask, PanelLayout.count(length))
    let count = (slice.count + length - 1) / length
    withNative(x, weight) { rows, native in
      // Not in order: what a thread leaves of a stretch lies beside what it leaves of the next one.
      pool.run(count, as: .integerProduct) { task, worker in
        func stretch(_ task: Int) -> Range<Int> {
          slice.lowerBound + task * length..<min(slice.lowerBound + (task + 1) * length, slice.upperBound)
        }
        let columns = stretch(task)
        let forward = PanelForward(x: x, rows: rows, weight: native, slice: columns, layout: layout)
        let y = space[worker].rows(0..<x.rows).columns(0..<columns.count)
        let all = PanelLayout.count(columns.count)
        for first in stride(from: 0, to: all, by: step) {
          let range = first..<min(first + step, all)
          // The panels after these, or the first ones of the next stretch.
          var upcoming: UpcomingWeights?
          if range.upperBound < all {
            let next = range.upperBound..<min(range.upperBound + step, all)
            upcoming = forward.upcoming(next, of: weight, during: range, tokens: 0..<x.rows)
          } else if task + 1 < count {
            let next = PanelForward(x: x, rows: rows, weight: native, slice: stretch(task + 1), layout: layout)
            upcoming = next.upcoming(0..<step, of: weight, during: range, tokens: 0..<x.rows)
          }
          forward.multiply(
            range, tokens: 0..<x.rows, into: y, accumulate: false, term: nil, scaled: nil, upcoming: upcoming,
            meter: pool.meter, worker: worker, memory: scratch[worker].base)
        }
        body(columns, y)
      }
    }
  }

  /// What the tasks of a forward product have in common.
  private struct PanelForward: Sendable {
    let x: QuantizedRows
    let rows: UncheckedPointer<el_rows>
    let weight: UncheckedPointer<el_matrix>
    /// Rows of the weight that the product's columns come from.
    let slice: Range<Int>
    let layout: PanelLayout

    /// What is asked for while a task's products are computed.
    func upcoming(_ panels: Range<Int>, of weight: StoredMatrix, during range: Range<Int>, tokens: Range<Int>)
      -> UpcomingWeights
    {
      UpcomingWeights(
        weight, rows: slice.lowerBound + panels.lowerBound * width..<slice.lowerBound + panels.upperBound * width,
        columns: 0..<weight.columns, steps: (tokens.count + inputTileRows - 1) / inputTileRows * range.count)
    }

    /// Decodes some panels and multiplies some tokens with them.
    func multiply(
      _ range: Range<Int>, tokens: Range<Int>, into y: Matrix, accumulate: Bool, term: LowRankTerm?,
      scaled: ScaledColumns?, upcoming: UpcomingWeights?, meter: WorkMeter, worker: Int, memory: UnsafeMutableRawPointer
    ) {
      let meanStride = x.meanCount * width
      let exact = (memory + layout.taskByteCount).assumingMemoryBound(to: Float.self)
      let means = exact + exactPanelByteCount / 4
      let needed = x.means(of: tokens)
      meter.mark(.decode, worker: worker)
      for index in range {
        let (row, place) = (slice.lowerBound + index * width, index - range.lowerBound)
        var panel = layout.panel(place, at: memory)
        KernelTables.int8.pointee.decode_rows(weight.pointer, row, x.block, &panel)
        if needed.isEmpty { continue }
        productsOfMeans(
          x, needed, weight, row: row, &panel, space: means + PanelLayout.mostPanels * meanStride,
          into: means + place * meanStride)
      }
      meter.mark(.integerProduct, worker: worker)
      layout.forEachTile(range, at: memory, tokens: tokens, rows: inputTileRows, fetching: upcoming) {
        tile, index, panel in
        let product = PanelProduct(
          x: rows, rows: tile, first: 0, reduction: x.columns, y: y,
          columns: index * width..<min((index + 1) * width, slice.count),
          accumulate: accumulate, term: term)
        if x.exactCount == 0 {
          product.run(&panel)
        } else {
          MatrixProduct.multiply(
            x, product, panel: &panel, means: means + (index - range.lowerBound) * meanStride, values: exact)
        }
        scaled?.take(y, rows: tile, columns: product.columns)
      }
    }
  }

  /// `products[i][j] = means[i] . W[row + j]`, in float, for some means and the rows of a panel that is decoded.
  private static func productsOfMeans(
    _ x: QuantizedRows, _ range: Range<Int>, _ weight: UncheckedPointer<el_matrix>, row: Int, _ panel: inout el_panel,
    space: UnsafeMutablePointer<Float>, into products: UnsafeMutablePointer<Float>
  ) {
    if let fused = KernelTables.int8.pointee.float_products, x.block == 64 {
      fused(
        weight.pointer, row, &panel, range.count, x.means + range.lowerBound * x.columns,
        products + range.lowerBound * width)
      return
    }
    for first in stride(from: 0, to: width, by: meanRows) {
      let count = min(meanRows, weight.pointer.pointee.rows - row - first)
      if count <= 0 { return }
      for line in 0..<count {
        KernelTables.int8.pointee.decode_near(
          weight.pointer, row + first + line, 0, x.columns, space + line * x.columns)
      }
      KernelTables.float.pointee.gemm_rows(
        range.count, count, x.columns, 1, x.means + range.lowerBound * x.columns, x.columns, space, x.columns, 0,
        products + range.lowerBound * width + first, width)
    }
  }

  /// The product with a panel, and before it, group by group, the exact columns and the mean: `sum_c exact[t][c] * w[c]`.
  ///
  /// - Parameters:
  ///   - means: products of the means with the panel
  ///   - values: space for the panel's values at the exact columns
  private static func multiply(
    _ x: QuantizedRows, _ product: PanelProduct, panel: inout el_panel, means: UnsafePointer<Float>,
    values: UnsafeMutablePointer<Float>
  ) {
    for (number, group) in x.groups.enumerated() where group.rows.overlaps(product.rows) {
      let rows = group.rows.clamped(to: product.rows)
      for index in 0..<x.exactCount {
        let column = Int(x.exactColumns[number * x.exactCount + index])
        KernelTables.int8.pointee.panel_values(&panel, column, x.block, values + index * width)
      }
      if let mean = group.mean {
        KernelTables.float.pointee.copy(
          width, means + mean * width, values + x.exactCount * width)
      }
      let exact = el_term(
        count: x.exactCount + (group.mean == nil ? 0 : 1), scale: 1,
        x: x.exactValues + rows.lowerBound * x.exactStride, ldx: x.exactStride, w: values, ldw: width)
      product.add(exact, rows: rows, &panel)
    }
    product.finish(&panel)
  }

  /// Rows of the input for which a row of `W` is decoded once: a group, or several groups of one row each.
  private static func parts(of x: QuantizedRows) -> [Range<Int>] {
    if x.groups.count < x.rows { return x.groups.map(\.rows) }
    return stride(from: 0, to: x.rows, by: ownRows).map { $0..<min($0 + ownRows, x.rows) }
  }

  /// Products of few rows, as in generation: every row of `W` is decoded and dotted.
  private static func forwardFew(
    _ x: QuantizedRows, _ weight: StoredMatrix, rows slice: Range<Int>, into y: Matrix, accumulate: Bool,
    pool: ThreadPool, scratch: [Scratch]
  ) {
    let kernels = KernelTables.int8
    precondition(x.meanCount == 0, "a group of few rows keeps its mean")
    let areOwn = x.groups.count == x.rows
    let parts = parts(of: x)
    withNative(x, weight) { rows, native in
      pool.run((slice.count + fewTile - 1) / fewTile, as: .integerProduct, inOrder: true) { task, worker in
        let values = scratch[worker].base.assumingMemoryBound(to: Float.self)
        let buffer = scratch[worker].base + Scratch.aligned(mostFewRows * fewTile * 4)
        let first = task * fewTile
        let count = min(fewTile, slice.count - first)
        for (number, tokens) in parts.enumerated() {
          var exact = el_exact_columns(
            count: x.exactCount, columns: x.exactColumns + (areOwn ? tokens.lowerBound : number) * x.exactCount,
            values: x.exactValues + tokens.lowerBound * x.exactCount, are_own: areOwn ? 1 : 0)
          kernels.pointee.dot_rows(
            native.pointer, slice.lowerBound + first, count, rows.pointer, tokens.lowerBound, tokens.count, &exact,
            buffer, values, fewTile)
          for token in 0..<tokens.count {
            let out = y.base + (tokens.lowerBound + token) * y.stride + first
            let line = values + token * fewTile
            for j in 0..<count { out[j] = accumulate ? out[j] + line[j] : line[j] }
          }
        }
      }
    }
  }
}
