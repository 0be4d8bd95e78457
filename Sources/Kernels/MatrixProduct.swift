import CKernels

/// Products with frozen weights in 8 bits: a few panels of `W` are decoded, then all tokens pass over them.
public enum MatrixProduct {
  /// Bytes of decoded weights that a task works on at once: they should stay in the second-level cache.
  private static let panelBytes = 192 * 1024
  private static let mostPanels = 4
  /// Longest stretch of the gradient's reduction that is decoded at once.
  private static let slabRows = 2048
  /// Rows of the input that pass over a group of panels together, so that they stay in cache; a multiple of
  /// `EL_ROW_GROUP` and of the kernels' tiles.
  private static let tileRows = 96
  /// The same for inputs, whose groups have floats in common.
  private static let inputTileRows = QuantizedRows.groupRows
  /// Most parts that the rows are split into where a loop ends; each begins at a multiple of `partRows`.
  private static let mostRowParts = 4
  private static let partRows = 64
  /// Rows of `W` that one task takes when the input has few rows.
  private static let fewTile = 64
  /// Most rows that are products of vectors.
  private static let mostFewRows = Int(EL_DOT_ROWS)

  /// Up to so many rows are products of vectors: decoding into panels would not pay. Float weights would lose bits in
  /// panels besides.
  private static func fewRows(_ weight: StoredMatrix) -> Int { weight.isFloat ? mostFewRows : 2 }
  /// Rows of `W` at which a slice may start.
  public static let sliceAlignment = 64

  private static let width = Int(EL_PANEL)

  private static func align(_ byteCount: Int) -> Int { (byteCount + 63) / 64 * 64 }

  /// Where the panels of a task lie: one after the other, each its codes and then its scales.
  private struct PanelLayout {
    let codeByteCount: Int
    let byteCount: Int
    /// Bounded by cache, and few enough that all threads find work.
    let panelsPerTask: Int

    init(reduction: Int, block: Int, panels: Int) {
      codeByteCount = align(KernelTables.int8.pointee.panel_code_bytes(reduction))
      byteCount = codeByteCount + align((reduction + block - 1) / block * width * 4)
      panelsPerTask = max(1, min(MatrixProduct.mostPanels, MatrixProduct.panelBytes / byteCount, (panels + 7) / 8))
    }

    /// Bytes of the panels of a task.
    var taskByteCount: Int { byteCount * panelsPerTask }

    /// Upper bound of `taskByteCount` for this reduction or a shorter one, and any number of panels.
    var largestTaskByteCount: Int {
      max(byteCount, min(MatrixProduct.panelBytes, MatrixProduct.mostPanels * byteCount))
    }

    func panel(_ index: Int, at base: UnsafeMutableRawPointer) -> el_panel {
      let codes = base + index * byteCount
      return el_panel(codes: codes, scales: (codes + codeByteCount).assumingMemoryBound(to: Float.self))
    }

    /// Tokens pass over a task's panels, `rows` of them at a time.
    ///
    /// - Parameters:
    ///   - range: the panels, of which the first stands at `base`
    ///   - upcoming: is asked for along with them
    @inline(__always) func forEachTile(
      _ range: Range<Int>, at base: UnsafeMutableRawPointer, tokens: Range<Int>, rows: Int,
      fetching upcoming: Upcoming?,
      _ body: (_ tile: Range<Int>, _ index: Int, _ panel: inout el_panel) -> Void
    ) {
      var upcoming = upcoming
      for start in stride(from: tokens.lowerBound, to: tokens.upperBound, by: rows) {
        let tile = start..<min(start + rows, tokens.upperBound)
        for index in range {
          upcoming?.fetchSome()
          var panel = panel(index - range.lowerBound, at: base)
          body(tile, index, &panel)
        }
      }
    }
  }

  private static func panels(_ columns: Int) -> Int { (columns + width - 1) / width }

  /// How the panels of a product are shared out: several at a time, and of the last product of a loop the last ones one by
  /// one and in parts of the rows, so that all threads end at about the same time. Nothing is summed across tasks.
  private struct Division {
    private let panelsPerTask: Int
    private let threadCount: Int
    private let largeTasks: Int
    private let rows: Int
    /// Rows of the last panels' tasks, a multiple of `partRows`.
    private let rowsPerTask: Int
    private let rowParts: Int
    /// Number of tasks.
    let count: Int

    init(panels: Int, panelsPerTask: Int, rows: Int, threadCount: Int, isLast: Bool = true) {
      self.panelsPerTask = panelsPerTask
      self.threadCount = threadCount
      self.rows = rows
      largeTasks = max(0, panels - (isLast ? threadCount : 0)) / panelsPerTask
      // Every part decodes its panel again, which pays where many rows pass over it.
      let parts =
        threadCount == 1 || !isLast ? 1 : max(1, min(rows / (4 * MatrixProduct.partRows), MatrixProduct.mostRowParts))
      let unit = parts * MatrixProduct.partRows
      rowsPerTask = (rows + unit - 1) / unit * MatrixProduct.partRows
      rowParts = (rows + rowsPerTask - 1) / rowsPerTask
      count = largeTasks + (panels - largeTasks * panelsPerTask) * rowParts
    }

    /// The task that the thread which takes this one will take next, if all take the same time.
    func task(after task: Int) -> (panels: Range<Int>, rows: Range<Int>)? {
      task + threadCount < count ? part(task + threadCount) : nil
    }

    /// Panels and rows of a task.
    func part(_ task: Int) -> (panels: Range<Int>, rows: Range<Int>) {
      if task < largeTasks { return (task * panelsPerTask..<(task + 1) * panelsPerTask, 0..<rows) }
      let panel = largeTasks * panelsPerTask + (task - largeTasks) / rowParts
      let first = (task - largeTasks) % rowParts * rowsPerTask
      return (panel..<panel + 1, first..<min(first + rowsPerTask, rows))
    }
  }

  /// Weights that a thread probably decodes next. Memory is idle while products keep it busy, so a few rows are asked for
  /// with every tile.
  private struct Upcoming {
    private var address: UnsafeRawPointer
    private var rowsLeft: Int
    private let rowByteCount: Int
    /// Distance between rows, in bytes.
    private let stride: Int
    private let rowsPerStep: Int

    /// - Parameter steps: how often `fetchSome` is called
    init(_ weight: StoredMatrix, rows: Range<Int>, columns: Range<Int>, steps: Int) {
      let bits = weight.elementBits
      address = weight.native.data + (rows.lowerBound * weight.columns + columns.lowerBound) * bits / 8
      rowsLeft = min(rows.upperBound, weight.rows) - rows.lowerBound
      rowByteCount = columns.count * bits / 8
      stride = weight.columns * bits / 8
      rowsPerStep = (rows.count + steps - 1) / steps
    }

    mutating func fetchSome() {
      let count = min(rowsPerStep, rowsLeft)
      for _ in 0..<count {
        el_prefetch(address, rowByteCount)
        address += stride
      }
      rowsLeft -= count
    }
  }

  /// - Parameter count: panels of the whole loop
  private static func forwardLayout(_ weight: StoredMatrix, panels count: Int) -> PanelLayout {
    PanelLayout(reduction: weight.columns, block: weight.reductionBlock, panels: count)
  }

  private static func gradientLayout(_ weight: StoredMatrix, rows: Int) -> PanelLayout {
    PanelLayout(
      reduction: slab(weight, rows: rows), block: weight.gradientBlock, panels: panels(weight.columns))
  }

  private static func slab(_ weight: StoredMatrix, rows: Int) -> Int {
    let block = weight.gradientBlock
    return min(slabRows, (rows + block - 1) / block * block)
  }

  /// Scratch of one worker for `forward`, in bytes.
  public static func forwardScratchByteCount(_ weight: StoredMatrix, rows: Int) -> Int {
    let many =
      forwardLayout(weight, panels: panels(weight.rows)).largestTaskByteCount + align(exactPanelByteCount)
      + mostPanels * QuantizedRows.mostMeans(rows: rows) * width * 4 + align(meanRows * weight.columns * 4)
    let few = align(KernelTables.int8.pointee.dot_buffer_bytes(weight.columns, min(rows, fewRows(weight))))
    return max(many, few + align(mostFewRows * fewTile * 4))
  }

  /// Values of the panel at the exact columns, and below them the product of a mean.
  private static let exactPanelByteCount = (Int(EL_EXACT) + 1) * width * 4
  /// Rows of `W` whose floats meet the means together.
  private static let meanRows = 4

  /// Scratch of one worker for `inputGradient`, in bytes.
  public static func gradientScratchByteCount(_ weight: StoredMatrix, rows: Int) -> Int {
    gradientLayout(weight, rows: weight.rows).largestTaskByteCount
  }

  /// `y (+)= x Wᵀ`, or some of its columns.
  ///
  /// - Parameters:
  ///   - x: `[tokens, in]`, quantised as an input in blocks of `weight.reductionBlock`
  ///   - weight: `[out, in]`
  ///   - rows: rows of `weight`, from a multiple of `sliceAlignment`; `nil` for all
  ///   - y: `[tokens, rows]`
  ///   - term: joins the whole of `y`
  ///   - independentOfRowCount: few rows alone are multiplied in another way than many, which is faster and rounds
  ///     differently; with this they are not, as in training, where a batch may come in parts
  ///   - scratch: one for each worker, of `forwardScratchByteCount`
  public static func forward(
    _ x: QuantizedRows, _ weight: StoredMatrix, rows: Range<Int>? = nil, into y: Matrix, accumulate: Bool,
    adding term: LowRankTerm? = nil, independentOfRowCount: Bool = false, pool: ThreadPool, scratch: [Scratch]
  ) {
    let output = Output(weight, rows: rows, into: y, accumulate: accumulate, adding: term)
    precondition(output.fits(x), "input and weight fit")
    guard x.rows <= fewRows(weight) && !independentOfRowCount else {
      forward(x, [output], pool: pool, scratch: scratch)
      return
    }
    forwardFew(x, weight, rows: output.rows, into: y, accumulate: accumulate, pool: pool, scratch: scratch)
    term?.add(to: y, pool: pool)
  }

  /// One of several products of the same input.
  public struct Output {
    let weight: StoredMatrix
    let rows: Range<Int>
    let y: Matrix
    let accumulate: Bool
    let term: LowRankTerm?

    /// `y (+)= x Wᵀ`; parameters as in `forward`.
    public init(
      _ weight: StoredMatrix, rows: Range<Int>? = nil, into y: Matrix, accumulate: Bool, adding term: LowRankTerm?
    ) {
      self.weight = weight
      self.rows = MatrixProduct.checked(rows, of: weight)
      self.y = y
      self.accumulate = accumulate
      self.term = term
      precondition(y.columns == self.rows.count, "output fits")
      precondition(term?.fits(y) ?? true, "term fits")
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
    let all = outputs.reduce(0) { $0 + panels($1.rows.count) }
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
          let division = Division(
            panels: panels(output.rows.count), panelsPerTask: forward.layout.panelsPerTask, rows: x.rows,
            threadCount: pool.threadCount, isLast: index == outputs.count - 1)
          defer { tasks += division.count }
          return Part(output: output, forward: forward, division: division, firstTask: tasks)
        }
        func place(_ task: Int) -> (part: Part, panels: Range<Int>, tokens: Range<Int>)? {
          guard let part = parts.last(where: { $0.firstTask <= task }), task < tasks else { return nil }
          let (panels, tokens) = part.division.part(task - part.firstTask)
          return (part, panels, tokens)
        }
        pool.run(tasks, as: .integerProduct, inOrder: true) { task, worker in
          guard let (part, range, tokens) = place(task) else { return }
          // What the thread takes next, if all tasks take the same time.
          let upcoming = place(task + pool.threadCount).map { next in
            next.part.forward.upcoming(next.panels, of: next.part.output.weight, during: range, tokens: tokens)
          }
          part.forward.multiply(
            range, tokens: tokens, into: part.output.y, accumulate: part.output.accumulate, term: part.output.term,
            upcoming: upcoming, meter: pool.meter, worker: worker, memory: scratch[worker].base)
        }
      }
    }
  }

  /// A product's place in a loop over several.
  private struct Part {
    let output: Output
    let forward: PanelForward
    let division: Division
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
    scratch: [Scratch], _ body: (_ columns: Range<Int>, _ y: Matrix) -> Void
  ) {
    let slice = checked(rows, of: weight)
    precondition(
      x.columns == weight.columns && x.block == weight.reductionBlock && x.native.limit == EL_INPUT_LIMIT
        && length % sliceAlignment == 0, "input, weight and stretches fit")
    let layout = forwardLayout(weight, panels: panels(weight.rows))
    let step = min(layout.panelsPerTask, panels(length))
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
        let all = panels(columns.count)
        for first in stride(from: 0, to: all, by: step) {
          let range = first..<min(first + step, all)
          // The panels after these, or the first ones of the next stretch.
          var upcoming: Upcoming?
          if range.upperBound < all {
            let next = range.upperBound..<min(range.upperBound + step, all)
            upcoming = forward.upcoming(next, of: weight, during: range, tokens: 0..<x.rows)
          } else if task + 1 < count {
            let next = PanelForward(x: x, rows: rows, weight: native, slice: stretch(task + 1), layout: layout)
            upcoming = next.upcoming(0..<step, of: weight, during: range, tokens: 0..<x.rows)
          }
          forward.multiply(
            range, tokens: 0..<x.rows, into: y, accumulate: false, term: nil, upcoming: upcoming, meter: pool.meter,
            worker: worker, memory: scratch[worker].base)
        }
        body(columns, y)
      }
    }
  }

  /// What the tasks of a forward product have in common.
  private struct PanelForward {
    let x: QuantizedRows
    let rows: UncheckedPointer<el_rows>
    let weight: UncheckedPointer<el_matrix>
    /// Rows of the weight that the product's columns come from.
    let slice: Range<Int>
    let layout: PanelLayout

    /// What is asked for while a task's products are computed.
    func upcoming(_ panels: Range<Int>, of weight: StoredMatrix, during range: Range<Int>, tokens: Range<Int>)
      -> Upcoming
    {
      Upcoming(
        weight, rows: slice.lowerBound + panels.lowerBound * width..<slice.lowerBound + panels.upperBound * width,
        columns: 0..<weight.columns, steps: (tokens.count + inputTileRows - 1) / inputTileRows * range.count)
    }

    /// Decodes some panels and multiplies some tokens with them.
    func multiply(
      _ range: Range<Int>, tokens: Range<Int>, into y: Matrix, accumulate: Bool, term: LowRankTerm?,
      upcoming: Upcoming?, meter: WorkMeter, worker: Int, memory: UnsafeMutableRawPointer
    ) {
      let meanStride = x.meanCount * width
      meter.mark(.decode, worker: worker)
      for index in range {
        var panel = layout.panel(index - range.lowerBound, at: memory)
        KernelTables.int8.pointee.decode_rows(weight.pointer, slice.lowerBound + index * width, x.block, &panel)
      }
      let exact = (memory + layout.taskByteCount).assumingMemoryBound(to: Float.self)
      let means = exact + exactPanelByteCount / 4
      let needed = x.means(of: tokens)
      for index in range where !needed.isEmpty {
        var panel = layout.panel(index - range.lowerBound, at: memory)
        productsOfMeans(
          x, needed, weight, &panel, row: slice.lowerBound + index * width, space: means + mostPanels * meanStride,
          into: means + (index - range.lowerBound) * meanStride)
      }
      meter.mark(.integerProduct, worker: worker)
      layout.forEachTile(range, at: memory, tokens: tokens, rows: inputTileRows, fetching: upcoming) {
        tile, index, panel in
        let product = PanelProduct(
          x: rows, rows: tile, first: 0, reduction: x.columns, y: y,
          columns: index * width..<min((index + 1) * width, slice.count), accumulate: accumulate, term: term)
        if x.exactCount == 0 {
          product.run(&panel)
        } else {
          MatrixProduct.multiply(
            x, product, panel: &panel, means: means + (index - range.lowerBound) * meanStride, values: exact)
        }
      }
    }
  }

  /// `products[i][j] = means[i] . W[row + j]`, in float, for some means and the rows of a panel.
  private static func productsOfMeans(
    _ x: QuantizedRows, _ range: Range<Int>, _ weight: UncheckedPointer<el_matrix>, _ panel: inout el_panel, row: Int,
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
        KernelTables.float.pointee.copy(width, means + mean * width, values + x.exactCount * width)
      }
      let exact = el_term(
        count: x.exactCount + (group.mean == nil ? 0 : 1), scale: 1,
        x: x.exactValues + rows.lowerBound * x.exactStride, ldx: x.exactStride, w: values, ldw: width)
      product.add(exact, rows: rows, &panel)
    }
    product.finish(&panel)
  }

  /// Tokens times one panel, with what joins it in floats: within the product where the kernels have registers for that,
  /// and before it elsewhere.
  private struct PanelProduct {
    let x: UncheckedPointer<el_rows>
    let rows: Range<Int>
    /// First element of the reduction, and their number.
    let first: Int
    let reduction: Int
    let y: Matrix
    let columns: Range<Int>
    let accumulate: Bool
    /// Joins the columns of `y` that it stands for.
    let term: LowRankTerm?

    private var goesAlong: Bool { KernelTables.int8.pointee.gemm_adding != nil && term?.mask == nil }

    private func target(_ row: Int) -> UnsafeMutablePointer<Float> { y.base + row * y.stride + columns.lowerBound }

    /// The whole product, with the term.
    func run(_ panel: inout el_panel) {
      if term != nil && goesAlong {
        multiply(rows, nil, &panel)
      } else {
        term?.add(rows: rows, columns: columns, to: y.rows(rows).columns(columns), accumulate: accumulate)
        multiply(rows, &panel, accumulate: accumulate || term != nil)
      }
    }

    /// Adds what stays float for some of the rows, and perhaps multiplies them; `finish` follows.
    func add(_ exact: el_term, rows: Range<Int>, _ panel: inout el_panel) {
      if goesAlong {
        multiply(rows, exact, &panel)
      } else {
        KernelTables.float.pointee.gemm(
          rows.count, columns.count, exact.count, 1, exact.x, exact.ldx, 1, exact.w, exact.ldw, accumulate ? 1 : 0,
          target(rows.lowerBound), y.stride)
      }
    }

    /// What is left when all rows had their `add`.
    func finish(_ panel: inout el_panel) {
      if goesAlong { return }
      term?.add(rows: rows, columns: columns, to: y.rows(rows).columns(columns), accumulate: true)
      multiply(rows, &panel, accumulate: true)
    }

    private func multiply(_ rows: Range<Int>, _ panel: inout el_panel, accumulate: Bool) {
      KernelTables.int8.pointee.gemm(
        x.pointer, rows.lowerBound, rows.count, first, reduction, &panel, target(rows.lowerBound), y.stride,
        columns.count, accumulate ? 1 : 0)
    }

    private func multiply(_ rows: Range<Int>, _ exact: el_term?, _ panel: inout el_panel) {
      var terms = (exact ?? el_term(), el_term())
      var count = exact == nil ? 0 : 1
      if let term {
        let native = el_term(
          count: term.w.rows, scale: term.scale, x: term.p.base + rows.lowerBound * term.p.stride, ldx: term.p.stride,
          w: term.w.base + columns.lowerBound, ldw: term.w.stride)
        if exact == nil { terms.0 = native } else { terms.1 = native }
        count += 1
      }
      withUnsafePointer(to: &terms) { terms in
        KernelTables.int8.pointee.gemm_adding(
          x.pointer, rows.lowerBound, rows.count, first, reduction, &panel, target(rows.lowerBound), y.stride,
          columns.count, accumulate ? 1 : 0, UnsafeRawPointer(terms).assumingMemoryBound(to: el_term.self), count)
      }
    }
  }

  /// Products of few rows, as in generation: every row of `W` is decoded once and dotted.
  private static func forwardFew(
    _ x: QuantizedRows, _ weight: StoredMatrix, rows slice: Range<Int>, into y: Matrix, accumulate: Bool,
    pool: ThreadPool, scratch: [Scratch]
  ) {
    let kernels = KernelTables.int8
    precondition(x.meanCount == 0, "a group of few rows keeps its mean")
    withNative(x, weight) { rows, native in
      pool.run((slice.count + fewTile - 1) / fewTile, as: .integerProduct, inOrder: true) { task, worker in
        let values = scratch[worker].base.assumingMemoryBound(to: Float.self)
        let buffer = scratch[worker].base + align(mostFewRows * fewTile * 4)
        let first = task * fewTile
        let count = min(fewTile, slice.count - first)
        for (number, group) in x.groups.enumerated() {
          let tokens = group.rows
          var exact = el_exact_columns(
            count: x.exactCount, columns: x.exactColumns + number * x.exactCount,
            values: x.exactValues + tokens.lowerBound * x.exactCount)
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
  public struct Source {
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
        let division = Division(
          panels: panels(dx.columns), panelsPerTask: parts.map(\.layout.panelsPerTask).min() ?? 1, rows: dx.rows,
          threadCount: pool.threadCount)
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
  private struct PanelGradient {
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
    func upcoming(_ panels: Range<Int>, from first: Int, during range: Range<Int>, tokens: Range<Int>) -> Upcoming {
      Upcoming(
        source.weight,
        rows: source.rows.lowerBound + first..<source.rows.lowerBound + min(first + slab, source.rows.count),
        columns: panels.lowerBound * width..<panels.upperBound * width,
        steps: (tokens.count + tileRows - 1) / tileRows * range.count)
    }

    /// Decodes a slab of some panels and multiplies some tokens with them.
    func multiply(
      _ range: Range<Int>, from first: Int, tokens: Range<Int>, into dx: Matrix, accumulate: Bool, upcoming: Upcoming?,
      meter: WorkMeter, worker: Int, memory: UnsafeMutableRawPointer
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

  static func checked(_ rows: Range<Int>?, of weight: StoredMatrix) -> Range<Int> {
    let slice = rows ?? 0..<weight.rows
    precondition(
      slice.lowerBound >= 0 && slice.upperBound <= weight.rows && slice.lowerBound % sliceAlignment == 0,
      "rows \(slice) of a matrix of \(weight.rows)")
    return slice
  }

  /// Addresses of what the kernels know rows and weight as.
  private static func withNative(
    _ x: QuantizedRows, _ weight: StoredMatrix,
    _ body: (UncheckedPointer<el_rows>, UncheckedPointer<el_matrix>) -> Void
  ) {
    withUnsafePointer(to: x.native) { rows in
      withUnsafePointer(to: weight.native) { body(UncheckedPointer(rows), UncheckedPointer($0)) }
    }
  }
}

/// A pointer that a parallel loop may read: what it points to outlives the loop and does not change.
struct UncheckedPointer<T>: @unchecked Sendable {
  let pointer: UnsafePointer<T>
  init(_ pointer: UnsafePointer<T>) { self.pointer = pointer }
}
