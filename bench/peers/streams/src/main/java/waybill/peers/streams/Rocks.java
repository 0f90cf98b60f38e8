package waybill.peers.streams;

import java.util.Map;
import org.apache.kafka.streams.state.RocksDBConfigSetter;
import org.rocksdb.BlockBasedTableConfig;
import org.rocksdb.BloomFilter;
import org.rocksdb.CompressionType;
import org.rocksdb.Options;

/** RocksDB for many small rows that are looked up once, mostly in vain: large memtables, Bloom filters. */
public final class Rocks implements RocksDBConfigSetter {
    private static final long MIB = 1 << 20;
    private static final double BITS = 10;

    private BloomFilter filter;

    @Override
    public void setConfig(String store, Options options, Map<String, Object> configs) {
        filter = new BloomFilter(BITS, false);
        // Its block cache is Streams' own; a new one here would have to be closed beside it.
        BlockBasedTableConfig table = (BlockBasedTableConfig) options.tableFormatConfig();
        table.setFilterPolicy(filter);
        table.setBlockSize(4 * 1024);
        table.setCacheIndexAndFilterBlocks(false);
        options.setTableFormatConfig(table);
        options.setWriteBufferSize(32 * MIB);
        options.setMaxWriteBufferNumber(3);
        options.setMemtablePrefixBloomSizeRatio(0.1);
        options.setMemtableWholeKeyFiltering(true);
        options.setCompressionType(CompressionType.LZ4_COMPRESSION);
    }

    @Override
    public void close(String store, Options options) {
        filter.close();
    }
}
